"""The OpenFX plugin: a shim in C++ that hands pictures to the worker. It holds no algorithm and no Python."""
