"""Networks in training: built, fed, fitted, asked, written as graphs."""
