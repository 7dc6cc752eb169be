"""What others would write to serve the same model: each as its framework's own tutorial does, and no worse.

All take the photo itself as the body, decode it by the artifact's specification with Pillow and answer the fields of
our server. Given to them beyond a tutorial: weights with the batch norms folded in, ``inference_mode``, uvloop and
httptools, no access log, and of the variants (written at each program) the one that is fastest on the machine.
"""
