"""KMS: keys of encrypted objects and topics."""
