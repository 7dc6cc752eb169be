"""The prediction function: a photo from a caller in, its breed out."""
