// Element, quad: inputs that are whole vectors of four are copied four at a time.

alias Element = vec4<u32>;
