/// `v = momentum · v + g`, then `p −= rate · v`; with `nesterov`, `p −= rate · (g + momentum · v)`.
pub fn momentum(
    parameter: &mut f64,
    gradient: f64,
    velocity: &mut f64,
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
) {
    *velocity = momentum * *velocity + gradient;
    let direction = if nesterov {
        gradient + momentum * *velocity
    } else {
        *velocity
    };
    *parameter -= learning_rate * direction;
}
