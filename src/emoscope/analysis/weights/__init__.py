"""The bundles that ship, each `NAME.onnx` with its card `NAME.md`.

Other packages add theirs by an entry point of the group `emoscope.weights` that names a package
with such files in it.
"""
