"""What all rooms share: the emulator, the protocol of JSON services, resources, URIs, processes, the clock."""
