//! The part of the shader that depends on the layers of the network: the types and sizes of its buffers, and
//! the function `compute`, which takes a row through all layers.

/// A layer, and where its tensors begin, in quads of their buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) inputs: u32,
    pub(crate) outputs: u32,
    pub(crate) weights: u32,
    /// Beta, or the biases.
    pub(crate) beta: u32,
    pub(crate) normalization: Option<Normalization>,
}

/// The other tensors of a normalized layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normalization {
    pub(crate) gamma: u32,
    pub(crate) running_mean: u32,
    pub(crate) running_var: u32,
}

/// How many neighboring values of a row are read or written at once.
pub(crate) fn vector(columns: u32) -> u32 {
    [4, 2].into_iter().find(|&size| columns.is_multiple_of(size)).unwrap_or(1)
}

/// The text for these layers, inputs first. The buffers of the parameters and of the running statistics have
/// this many quads. `is_fma` says whether the device's tiles add a product by `fma`.
pub(crate) fn text(layers: &[Entry], [parameters, running]: [u32; 2], is_fma: bool) -> String {
    let [inputs, outputs] = [
        layers.first().map_or(1, |layer| layer.inputs),
        layers.last().map_or(1, |layer| layer.outputs),
    ];
    let [input, output] = [inputs, outputs].map(|columns| match vector(columns) {
        1 => "f32".to_owned(),
        size => format!("vec{size}<f32>"),
    });
    let mut body = reading(inputs);
    for (number, layer) in (1..).zip(layers) {
        body += &layer.sums(number);
        if number < layers.len() {
            body += &activating(number, layer.outputs);
        }
    }
    body += &writing(layers.len(), outputs);
    format!(
        "
alias Input = {input};
alias Output = {output};
const PARAMETERS = {parameters}u;
const RUNNING = {running}u;
const IS_FMA = {is_fma};

fn compute(row: u32) {{
    let input = first_input(row);
{body}}}
"
    )
}

/// The features of the row, in quads of which the last one may end in zeros.
fn reading(columns: u32) -> String {
    let size = vector(columns);
    let quads = columns.div_ceil(4);
    let mut text = format!("    var layer0: array<vec4<f32>, {quads}>;\n");
    for quad in 0..quads {
        let end = columns.min(4 * quad + 4);
        let places = 4 * quad / size..end / size;
        let padding = (end..4 * quad + 4).map(|_| "0.0".to_owned());
        let parts = places.map(|place| format!("inputs[input + {place}u]")).chain(padding);
        let parts = parts.collect::<Vec<_>>().join(", ");
        text += &format!("    layer0[{quad}] = vec4<f32>({parts});\n");
    }
    text
}

/// A loop as long as its array, which drivers unroll. Without it, all activation functions would be compiled
/// for each quad, before the driver sees that one is called.
fn activating(number: usize, columns: u32) -> String {
    let quads = columns.div_ceil(4);
    format!(
        "    for (var i = 0u; i < {quads}u; i++) {{
        layer{number}[i] = activations(layer{number}[i]);
    }}
"
    )
}

/// The outputs of the last layer, of this number.
fn writing(number: usize, columns: u32) -> String {
    let size = vector(columns);
    let mut text = "    if row < network.rows {\n".to_owned();
    text += "        let output = first_output(row);\n";
    for place in 0..columns / size {
        let (quad, first) = (place * size / 4, (place * size % 4) as usize);
        let parts = &"xyzw"[first..first + size as usize];
        text += &format!("        outputs[output + {place}u] = layer{number}[{quad}].{parts};\n");
    }
    text + "    }\n"
}

impl Entry {
    /// The values before the activation of the layer of this number.
    fn sums(&self, number: usize) -> String {
        let quads = self.outputs.div_ceil(4);
        let mut text = format!("    var layer{number}: array<vec4<f32>, {quads}>;\n");
        for quad in 0..quads {
            let sum = format!("layer{number}[{quad}]");
            for step in 0..self.inputs.div_ceil(4) {
                let count = (self.inputs - 4 * step).min(4);
                let features = format!("layer{}[{step}]", number - 1);
                let [a, b, c, d] = self.weights(quad, step);
                let weights = format!("vec4<u32>({a}u, {b}u, {c}u, {d}u)");
                text += &format!(
                    "    {sum} = with_products({sum}, {features}, {weights}, {count}u);\n"
                );
            }
            text += &format!("    {sum} = {};\n", self.finished(&sum, quad));
        }
        text
    }

    /// The places of four columns' weights of four features. Columns past the end are the last one again, and
    /// are not read.
    fn weights(&self, quad: u32, step: u32) -> [u32; 4] {
        let stride = self.inputs.div_ceil(4);
        let column = |column: u32| (4 * quad + column).min(self.outputs - 1);
        [0, 1, 2, 3].map(|own| self.weights + column(own) * stride + step)
    }

    fn finished(&self, sum: &str, quad: u32) -> String {
        let beta = self.beta + quad;
        let Some(Normalization { gamma, running_mean, running_var }) = self.normalization else {
            return format!("biased_quad({sum}, {beta}u)");
        };
        let [gamma, mean, var] = [gamma, running_mean, running_var].map(|first| first + quad);
        format!("normalized_quad({sum}, {gamma}u, {beta}u, {mean}u, {var}u)")
    }
}
