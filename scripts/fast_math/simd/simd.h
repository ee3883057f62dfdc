// Empty: metal_stdlib declares everything that naga's code uses.
