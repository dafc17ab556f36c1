"""The tables and figures of the thesis, each by one command: `lds reproduce NAME`."""
