/// `p −= rate · g`.
pub fn gradient_descent(parameter: &mut f64, gradient: f64, learning_rate: f64) {
    *parameter -= learning_rate * gradient;
}
