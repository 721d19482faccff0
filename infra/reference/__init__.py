"""The reference: pages of Markdown that are written from the code, each time the documentation is built."""
