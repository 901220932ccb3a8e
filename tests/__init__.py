"""The tests of sciml; the folders mirror the package."""
