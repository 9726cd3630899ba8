"""Jobs for render farms: what a shot's chunks are, and how each farm is told of them."""
