"""What every room speaks: errors, labels, the ClipSpec contract, results. No I/O, no torch."""
