"""Arrays in, arrays out: motion, fusion, propagation and the network; knows no file, no host and no color
management."""
