"""What MkDocs loads: a folder of its own, for MkDocs puts the hook's folder first on the path of imports."""
