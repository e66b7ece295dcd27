"""Message formats, one module each. A format turns a message's bytes into events or says why it cannot."""
