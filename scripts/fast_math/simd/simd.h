// All that naga's text needs of it is in metal_stdlib.
