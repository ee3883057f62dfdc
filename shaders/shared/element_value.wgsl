// Element, value: inputs of any number of values are copied one by one.

alias Element = u32;
