//! The reference against PyTorch 2.15 in float64: the activations, the losses at large outputs,
//! `BatchNorm1d`, and five steps of training with every optimizer, loss and activation.
//!
//! PyTorch is not needed to run these tests. The program in the next comment computed their numbers. All
//! its inputs come from a formula, as multiples of a power of two, which are exact in f32.

use std::borrow::Cow;

use ndarray::{Array1, Array2, arr1, arr2};
use ztilde::{
    Activation, Loss, Method, NetworkOptions, Optimizer, Parameters, Schedule, Targets,
    TrainerOptions,
    reference::{
        self, LossGradient, Network, Statistics, Trainer, batch_statistics, normalize,
        normalize_backward, normalize_gradients,
    },
};

use crate::fixtures::pytorch_numbers::{assert_close, matrix, numbers, parameters};

// import torch
// from torch import nn
// from torch.nn import functional as F
// from torch.nn.utils import clip_grad_norm_
// from torch.optim import SGD, Adam, AdamW, RMSprop, lr_scheduler
//
// torch.set_default_dtype(torch.float64)
// single = lambda x: torch.tensor(x, dtype=torch.float32).item()
// EPSILON, MOMENTUM, SLOPE = single(1e-5), single(0.1), single(0.01)
// ACTIVATIONS = [nn.ReLU(), nn.LeakyReLU(SLOPE), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.SiLU(),
//                nn.Identity(), nn.Mish(), nn.ELU(), nn.Softplus(threshold=1000), nn.GELU("tanh")]
//
// def numbers(seed, *shape):
//     count = torch.Size(shape).numel()
//     values = [((7 * i * i + 13 * i + 29 * seed) % 61 - 30) / 32 for i in range(count)]
//     return torch.tensor(values).reshape(shape)
//
// def show(name, *tensors):
//     print(name)
//     for tensor in tensors:
//         print("   ", [round(number, 13) for number in tensor.detach().flatten().tolist()])
//
// x = torch.tensor([-2.5, -0.5, 0.0, 0.75, 3.0], requires_grad=True)
// for activation in ACTIVATIONS:
//     outputs = activation(x)
//     show(activation, outputs, torch.autograd.grad(outputs.sum(), x)[0])
//
// outputs = torch.tensor([[800.0, -800.0], [-750.0, 0.5]], requires_grad=True)
// values = torch.tensor([[1.0, 0.75], [0.25, 0.0]])
// for loss in (F.cross_entropy(outputs, torch.tensor([1, 1])),
//              F.binary_cross_entropy_with_logits(outputs, values)):
//     show("loss", loss, torch.autograd.grad(loss, outputs)[0])
//
// inputs = numbers(1, 5, 2) * 4 + torch.tensor([100.0, 0.0])
// inputs.requires_grad_()
// norm = nn.BatchNorm1d(2, EPSILON, MOMENTUM)
// norm.weight.data, norm.bias.data = torch.tensor([1.5, -0.5]), torch.tensor([0.25, 2.0])
// outputs = norm(inputs)
// (outputs * numbers(2, 5, 2)).sum().backward()
// show("batch norm", outputs, inputs.grad, norm.weight.grad, norm.bias.grad)
// show("running", norm.running_mean, norm.running_var)
// show("inference", norm.eval()(inputs))
//
// def network(activation, batch_norm):
//     modules = []
//     for layer, (inputs, outputs) in enumerate([(4, 5), (5, 3), (3, 2)]):
//         normalized = batch_norm and layer < 2
//         linear = nn.Linear(inputs, outputs, bias=not normalized)
//         linear.weight.data = numbers(layer, outputs, inputs)
//         modules.append(linear)
//         if normalized:
//             norm = nn.BatchNorm1d(outputs, EPSILON, MOMENTUM)
//             norm.weight.data = 1 + numbers(10 + layer, outputs) / 2
//             norm.bias.data = numbers(20 + layer, outputs)
//             modules.append(norm)
//         else:
//             linear.bias.data = numbers(20 + layer, outputs)
//         modules += [activation] if layer < 2 else []
//     return nn.Sequential(*modules)
//
// def optimizer(method, weights, others):
//     groups = lambda decay: [{"params": weights, "weight_decay": decay},
//                             {"params": others, "weight_decay": 0.0}]
//     adam = {"lr": 0.0625, "betas": (0.875, 0.96875), "eps": 2**-10}
//     match method:
//         case 0: return SGD(groups(0.0625), lr=0.25)
//         case 1: return SGD(groups(0.0625), lr=0.125, momentum=0.75)
//         case 2: return SGD(groups(0.0625), lr=0.125, momentum=0.75, nesterov=True)
//         case 3: return RMSprop(groups(0.0625), lr=0.03125, alpha=0.875, eps=2**-10)
//         case 4: return Adam(groups(0.0625), **adam)
//         case 5: return AdamW(groups(0.25), **adam)
//
// def train(index, method, batch_norm, kind):
//     model = network(ACTIVATIONS[index % 7], batch_norm)
//     learned = list(model.parameters())
//     steps = optimizer(method, *([p for p in learned if p.dim() == dim] for dim in (2, 1)))
//     last = 0.125 * steps.param_groups[0]["lr"]
//     match index % 3:
//         case 0: rates = lr_scheduler.ConstantLR(steps, factor=1.0)
//         case 1: rates = lr_scheduler.StepLR(steps, step_size=2, gamma=0.5)
//         case 2: rates = lr_scheduler.CosineAnnealingLR(steps, T_max=4, eta_min=last)
//     losses, accuracy = 0.0, 0.0
//     for step in range(1, 6):
//         outputs = model(numbers(100 + step, 8, 4))
//         classes = torch.tensor([(row * row + step) // 2 % 2 for row in range(8)])
//         values = numbers(200 + step, 8, 2) / 2 + 0.5
//         match kind:
//             case 0: loss, right = F.cross_entropy(outputs, classes), outputs.argmax(1) == classes
//             case 1: loss, right = F.mse_loss(outputs, values), torch.tensor(0)
//             case 2:
//                 loss = F.binary_cross_entropy_with_logits(outputs, values)
//                 right = (outputs > 0) == (values > 0.5)
//         steps.zero_grad()
//         loss.backward()
//         if index % 2 == 1:
//             clip_grad_norm_(learned, 0.25)
//         steps.step()
//         rates.step()
//         losses += loss.item()
//         accuracy += right.double().mean().item() / 5
//     flat = torch.cat([p.detach().flatten() for p in learned])
//     inferred = model.eval()(numbers(300, 8, 4)).detach().flatten()
//     checks = flat[0], flat[-1], flat.dot(numbers(400, len(flat))), inferred.dot(numbers(400, 16))
//     return [round(float(number), 13) for number in (losses, accuracy, *checks)]
//
// cases = [(method, batch_norm, kind)
//          for method in range(6) for batch_norm in (False, True) for kind in range(3)]
// for index, choices in enumerate(cases):
//     print(train(index, *choices), end=",\n")

/// Inputs of the activations.
const X: [f64; 5] = [-2.5, -0.5, 0.0, 0.75, 3.0];

/// Each activation of X, and its derivative there.
#[rustfmt::skip]
const ACTIVATIONS: [(Activation, [f64; 5], [f64; 5]); 11] = [
    (Activation::Relu,
     [0.0, 0.0, 0.0, 0.75, 3.0],
     [0.0, 0.0, 0.0, 1.0, 1.0]),
    (Activation::LeakyRelu,
     [-0.0249999994412, -0.0049999998882, 0.0, 0.75, 3.0],
     [0.0099999997765, 0.0099999997765, 0.0099999997765, 1.0, 1.0]),
    (Activation::Tanh,
     [-0.9866142981514, -0.46211715726, 0.0, 0.6351489523873, 0.9950547536867],
     [0.0265922266832, 0.7864477329659, 1.0, 0.5965858082813, 0.0098660371654]),
    (Activation::Sigmoid,
     [0.0758581800212, 0.3775406687981, 0.5, 0.6791786991754, 0.9525741268224],
     [0.0701037165451, 0.2350037122016, 0.25, 0.2178949937618, 0.0451766597309]),
    (Activation::Gelu,
     [-0.0155241633144, -0.154268769363, 0.0, 0.5800294857173, 2.9959503059051],
     [-0.0376110859081, 0.1325048753438, 0.5, 0.9992257217392, 1.0119456472042]),
    (Activation::Silu,
     [-0.1896454500531, -0.1887703343991, 0.0, 0.5093840243815, 2.8577223804673],
     [-0.0994011113415, 0.2600388126973, 0.5, 0.8425999444968, 1.0881041060152]),
    (Activation::Identity,
     [-2.5, -0.5, 0.0, 0.75, 3.0],
     [1.0, 1.0, 1.0, 1.0, 1.0]),
    (Activation::Mish,
     [-0.1968162039065, -0.2207437746517, 0.0, 0.6100183352183, 2.986535004968],
     [-0.1097435727502, 0.2895106779135, 0.6, 0.9857583557167, 1.0211069109294]),
    (Activation::Elu,
     [-0.9179150013761, -0.3934693402874, 0.0, 0.75, 3.0],
     [0.0820849986239, 0.6065306597126, 1.0, 1.0, 1.0]),
    (Activation::Softplus,
     [0.0788897342925, 0.4740769841801, std::f64::consts::LN_2, 1.1368710061149, 3.0485873515737],
     [0.0758581800212, 0.3775406687981, 0.5, 0.6791786991754, 0.9525741268224]),
    (Activation::GeluTanh,
     [-0.01508426609, -0.1542859901749, 0.0, 0.5799605551656, 2.9963626079182],
     [-0.0379515762127, 0.1326300964654, 0.5, 0.9989382561374, 1.011584166631]),
];

/// A row has the results of five training steps: the sum of the losses, the mean of the accuracies, the
/// first weight, the last bias, the product of all parameters with numbers(400), and the same product
/// for the outputs of inference on numbers(300).
///
/// For each method: without batch normalization, then with it; for each of these the three losses.
#[rustfmt::skip]
const TRAINING: [[f64; 6]; 36] = [
    [3.9337784989364, 0.4, -0.8677754564248, 0.4833305766278, 1.0937434978616, -4.4263135772229],
    [4.9549440757403, 0.0, -0.8915184850502, 0.5061013519183, 1.2973676223993, -4.051627283465],
    [4.0009268851659, 0.5, -0.8914647600569, 0.5075568331799, 1.314912005368, -2.8509158778947],
    [3.6170275000547, 0.5, -0.8669300365146, 0.4836880970707, 5.4527950026106, -2.8963359757763],
    [1.7061816943927, 0.0, -0.8742999219944, 0.3430590204974, 5.5679934536766, -1.3803533040252],
    [4.2853310688555, 0.5, -0.8946472535088, 0.511285811432, 5.5966729858879, -2.9126264012673],
    [4.9691561583874, 0.375, -0.8630002358765, 0.6018885303624, 1.5191189358822, -4.7475620386341],
    [5.4082943605583, 0.0, -0.8952454561903, 0.5118289434943, 1.3073814585523, -4.143051278075],
    [4.5214260874643, 0.525, -0.9079946525992, 0.4827323004877, 1.367912175467, -3.6059252736187],
    [3.6613798620509, 0.575, -0.8667688541437, 0.5468710147288, 5.5026155731827, -3.1619602642028],
    [1.1533657782809, 0.0, -0.8916505416863, 0.1422879169571, 5.5699272035393, -1.1157788332092],
    [4.4758063375389, 0.5125, -0.8996703323803, 0.5232210806396, 5.6231481650209, -3.4311550267371],
    [3.9208150768251, 0.4, -0.8474785591057, 0.4968213124217, 1.103699334816, -3.3831443659464],
    [8.6859179932075, 0.0, -0.8650538224326, 0.5400862080302, 1.260177673862, -3.6968777250546],
    [4.3901718630373, 0.525, -0.8982966994404, 0.4587790531533, 1.3432558972518, -3.192891494],
    [3.7342798684126, 0.45, -0.8442714327408, 0.5230354814659, 5.3636702254581, -4.0337355729269],
    [1.251821569905, 0.0, -0.8690467700193, 0.2717019872931, 5.4470904617208, -1.592257673071],
    [4.1116178901945, 0.525, -0.8901606837659, 0.4754890131743, 5.5838362784687, -2.6461954126936],
    [3.7864210976928, 0.3, -0.6637415089667, 0.4761032248093, 0.4758482405685, -3.5601848247009],
    [1.5632760817518, 0.0, -0.7334525878308, 0.3643410371135, 0.7675205108726, -1.5611688085523],
    [4.3809136647031, 0.5, -0.7825121008487, 0.4000667747362, 1.2505993696381, -1.9283245906831],
    [3.7314830426109, 0.5, -0.6600937488223, 0.4591714352514, 4.1172445807102, -3.357504624789],
    [2.7329155182575, 0.0, -0.7459263180847, 0.3713677366389, 5.3743142941021, -2.2715767137932],
    [3.8767571645582, 0.525, -0.7565058818939, 0.3771081686229, 4.2344185035061, -1.9083547169784],
    [3.7230113373022, 0.5, -0.6328645230457, 0.4968657999307, 0.0139113864325, -2.788003325641],
    [2.253539259326, 0.0, -0.7379956527903, 0.3651315107244, 0.8323157371967, -1.6893090982156],
    [3.9710338476006, 0.525, -0.7657538819213, 0.4021343869941, 1.2299107505815, -1.7470653833909],
    [3.9443562571854, 0.425, -0.6324105849943, 0.6404085904915, 3.7680554819328, -3.3499006835776],
    [2.9360336708043, 0.0, -0.7402338866039, 0.3652249359124, 5.2386295523968, -1.9791675364854],
    [4.2070191278326, 0.5375, -0.7652478045826, 0.3941614006985, 4.612914254706, -2.1586997983001],
    [4.0416302255797, 0.5, -1.0395577244836, 0.6440870758577, 2.0849981949844, -3.6390653858421],
    [1.3207077733339, 0.0, -0.9199028269114, 0.3604978799582, 1.558665935139, -1.6528960852955],
    [4.0532864911952, 0.525, -0.9638798901531, 0.4002674635315, 1.0803298218885, -1.9043769940922],
    [3.8391830689956, 0.425, -0.9767673741651, 0.4848793537621, 5.5987055150969, -3.3406024830807],
    [2.930322473897, 0.0, -0.7233319988969, 0.3661608578083, 4.8033019324639, -1.8719768504552],
    [4.1968252334153, 0.475, -0.8058619146343, 0.3947507934726, 4.9947068457187, -2.208299372677],
];

#[test]
fn activations_and_their_derivatives() {
    let x = arr2(&[X]);
    assert_eq!(ACTIVATIONS.map(|(activation, ..)| activation), Activation::ALL);
    for (activation, outputs, derivatives) in ACTIVATIONS {
        let name = activation.name();
        assert_close(name, &reference::activate(&x, activation), &outputs);
        let grad_outputs = Array2::ones(x.dim());
        let found = reference::activate_backward(&x, &grad_outputs, activation);
        assert_close(&format!("{name}, backward"), &found, &derivatives);
    }
}

#[test]
fn losses_of_outputs_whose_exponentials_overflow() {
    let outputs = arr2(&[[800.0, -800.0], [-750.0, 0.5]]);

    let LossGradient { row_losses, grad_outputs, .. } =
        reference::softmax_cross_entropy(&outputs, &[1, 1]);
    assert_close("cross-entropy", [&row_losses.mean().unwrap()], &[800.0]);
    assert_close("cross-entropy, backward", &grad_outputs, &[0.5, -0.5, 0.0, 0.0]);

    let targets = arr2(&[[1.0, 0.75], [0.25, 0.0]]);
    let LossGradient { row_losses, grad_outputs, .. } =
        reference::binary_cross_entropy(&outputs, &targets);
    assert_close("binary", [&row_losses.mean().unwrap()], &[197.118519246045]);
    assert_close("binary, backward", &grad_outputs, &[0.0, -0.1875, -0.0625, 0.1556148328005]);
}

#[test]
fn batch_normalization() {
    let options = NetworkOptions::default();
    let epsilon = options.epsilon.into();
    let inputs = matrix(1, 5, 2) * 4.0 + arr1(&[100.0, 0.0]);
    let [gamma, beta] = [arr1(&[1.5, -0.5]), arr1(&[0.25, 2.0])];

    let statistics = batch_statistics(&inputs);
    let Statistics { mean, variance } = &statistics;
    let outputs = normalize(&inputs, mean, variance, &gamma, &beta, epsilon);
    let expected = arr2(&[
        [0.2084614055378, 1.4008562858908],
        [-0.5184639975503, 2.8273889385317],
        [-1.7646218314156, 2.2567758774754],
        [2.8046235594239, 1.8644793979991],
        [0.5200008640042, 1.650499500103],
    ]);
    assert_close("outputs", &outputs, &expected);

    let grad_outputs = matrix(2, 5, 2);
    let gradients = normalize_gradients(&inputs, mean, variance, &grad_outputs, epsilon);
    assert_close("grad_gamma", &gradients.grad_gamma, &[-1.3326965723282, -1.9427591563152]);
    assert_close("grad_beta", &gradients.grad_beta, &[0.625, -0.84375]);
    let grad_inputs =
        normalize_backward(&inputs, mean, variance, &gamma, &gradients, &grad_outputs, epsilon);
    let expected = arr2(&[
        [0.6169468962993, -0.0650774993897],
        [0.3279051844437, 0.0639705670706],
        [-0.1675948930231, -0.2051948890413],
        [0.0655798104846, 0.1536194337012],
        [-0.8428369982045, 0.0526823876592],
    ]);
    assert_close("grad_inputs", &grad_inputs, &expected);

    let [mut running_mean, mut running_var] = [Array1::zeros(2), Array1::ones(2)];
    statistics.move_running(5, options.momentum.into(), &mut running_mean, &mut running_var);
    assert_close("running_mean", &running_mean, &[9.9925001488999, 0.0275000004098]);
    assert_close("running_var", &running_var, &[1.3075000045821, 1.2839062542305]);
    let outputs = normalize(&inputs, &running_mean, &running_var, &gamma, &beta, epsilon);
    let expected = arr2(&[
        [118.1581679698962, 0.9641252269712],
        [117.0103400040011, 3.1704612721462],
        [115.0426349196094, 2.2879268540762],
        [122.2575535623789, 1.681184441653],
        [118.6500942409942, 1.3502340348768],
    ]);
    assert_close("inference", &outputs, &expected);
}

/// The program's optimizers, each with its decay, and one of the schedules.
///
/// Their epsilon is far above the usual 1e-8. A beta that the next layer's batch normalization cancels
/// has a gradient of 0, or of 1e-17 due to rounding. Divided by 1e-8 in every step, it would exceed the
/// tolerance.
fn optimizer(method: usize, schedule: usize) -> Optimizer {
    let epsilon = 1.0 / 1024.0;
    let adam = |decoupled| Method::Adam { beta1: 0.875, beta2: 0.96875, epsilon, decoupled };
    let optimizers = [
        Optimizer::gradient_descent(0.25),
        Optimizer::momentum(0.125, 0.75),
        Optimizer::nesterov(0.125, 0.75),
        Optimizer::new(Method::RmsProp { smoothing: 0.875, epsilon }, 0.03125),
        Optimizer::new(adam(false), 0.0625),
        Optimizer::new(adam(true), 0.0625),
    ];
    let schedules = [
        Schedule::Constant,
        Schedule::Step { every: 2, factor: 0.5 },
        Schedule::Cosine { steps: 4, last: 0.125 },
    ];
    let weight_decay = if method == 5 { 0.25 } else { 0.0625 };
    Optimizer { weight_decay, schedule: schedules[schedule], ..optimizers[method] }
}

#[test]
fn training_with_every_optimizer_loss_and_activation() {
    for (index, expected) in TRAINING.iter().enumerate() {
        let [method, batch_norm, kind] = [index / 6, index / 3 % 2, index % 3];
        let activation = Activation::ALL[index % 7];
        let options = TrainerOptions {
            loss: Loss::ALL[kind],
            optimizer: optimizer(method, index % 3),
            clip_norm: (index % 2 == 1).then_some(0.25),
            ..TrainerOptions::default()
        };
        let found = train(activation, batch_norm == 1, &options);
        let what = format!("{}, batch norm {batch_norm}, {options:?}", activation.name());
        assert_close(&what, &found, expected);
    }
}

fn train(activation: Activation, batch_norm: bool, options: &TrainerOptions) -> [f64; 6] {
    let mut trainer = Trainer::new(Network::from(&parameters(activation, batch_norm)), options);
    let [mut losses, mut accuracy] = [0.0; 2];
    for step in 1..=5 {
        let targets = if options.loss.has_class_targets() {
            let class = |row: u32| (row * row + step as u32) / 2 % 2;
            Targets::Classes((0..8).map(class).collect())
        } else {
            let values = numbers(200 + step, 16).mapv(|value| (value / 2.0 + 0.5) as f32);
            Targets::Values(Cow::Owned(values.to_vec()))
        };
        let (loss, right) = trainer.step(&matrix(100 + step, 8, 4), &targets);
        losses += loss;
        accuracy += right / 5.0;
    }
    let mut network = trainer.network().clone();
    let outputs = network.infer(&matrix(300, 8, 4));
    let learned: Array1<f64> = network.learned_mut().into_iter().map(|(value, _)| *value).collect();
    [
        losses,
        accuracy,
        learned[0],
        learned[learned.len() - 1],
        learned.dot(&numbers(400, learned.len())),
        outputs.flatten().dot(&numbers(400, outputs.len())),
    ]
}

#[test]
fn parameters_go_in_and_come_out() {
    for batch_norm in [false, true] {
        let parameters = parameters(Activation::Gelu, batch_norm);
        assert_eq!(Parameters::from(&Network::from(&parameters)), parameters);
    }
}
