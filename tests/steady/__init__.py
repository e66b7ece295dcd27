"""A long run without faults: half of the highest rate, an inventory each minute, memory and latency watched."""
