"""Published benchmarks, one file each, by axis; `registry` is the table of them."""
