"""Servers that others would write for the same model: each follows its framework's own tutorial.

All take the photo itself as the body, decode it with Pillow by the artifact's specification, and answer the fields of
our server. They get more than a tutorial has: weights with folded batch norms, ``inference_mode``, uvloop and
httptools, no access log, and the variant that is fastest on the machine (each program lists its variants).
"""
