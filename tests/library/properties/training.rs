//! Changes that keep every bit, and the rounding of folding.

use ndarray::Array2;
use proptest::prelude::*;
use ztilde::{
    Dataset, Inference, Loss, Network, Optimizer, Parameters, Remainder, Trainer, TrainerOptions,
    block_on, reference,
};

use super::network::{Case, cases, floats};
use super::{config, uniform};
use crate::fixtures::comparisons::assert_within;
use crate::fixtures::folding::bounds;
use crate::fixtures::public_kernels::Gpu;

/// Every loss and every parameter after this many steps.
fn train(
    case: &Case,
    options: &TrainerOptions,
    dataset: &Dataset,
    is_streamed: bool,
    submissions: &[u32],
) -> (Vec<u32>, Vec<u8>) {
    let device = &case.gpu().device;
    let mut trainer = Trainer::new(case.network(), options.clone()).unwrap();
    let mut data = match is_streamed {
        true => trainer.stream(dataset.clone()).unwrap(),
        false => trainer.upload(dataset).unwrap(),
    };
    for &steps in submissions {
        trainer.train(&mut data, steps).unwrap();
    }
    let metrics = block_on(device, trainer.metrics(submissions.iter().sum())).unwrap();
    let parameters = block_on(device, trainer.network().parameters()).unwrap();
    let losses = metrics.iter().map(|step| step.loss.to_bits()).collect();
    (losses, parameters.to_bytes().unwrap())
}

proptest! {
    #![proptest_config(config(16))]

    #[test]
    fn splitting_a_data_set_into_submissions_changes_no_bit(
        case in cases(4..200, 30),
        batch_size: prop::sample::Index,
        keeps_remainder: bool,
        submissions in prop::collection::vec(0..40_u32, 1..8),
        is_streamed: bool,
    ) {
        let batch_size = 2 + batch_size.index(case.rows - 2);
        // A last batch of one row could not be normalized.
        let keeps_remainder = keeps_remainder && case.rows % batch_size != 1;
        let options = TrainerOptions {
            batch_size: batch_size as u32,
            loss: case.loss,
            optimizer: Optimizer::adam(0.01),
            remainder: if keeps_remainder { Remainder::Keep } else { Remainder::Drop },
            clip_norm: Some(1.0),
            seed: case.seed,
            ..Default::default()
        };
        let steps: u32 = submissions.iter().sum();
        prop_assume!(steps > 0);
        let dataset = Dataset::new(case.inputs().mapv(|x| x as f32), case.targets()).unwrap();
        let expected = train(&case, &options, &dataset, false, &[steps]);
        let found = train(&case, &options, &dataset, is_streamed, &submissions);
        let first = found.0.iter().zip(&expected.0).position(|(found, expected)| found != expected);
        assert_eq!(first, None, "the place of the first loss with other bits");
        assert!(found == expected, "the losses are the same, but bits of the parameters differ");
    }

    /// The network does not depend on the app's inferences or their number.
    #[test]
    fn inference_changes_no_bit_of_the_network(case in cases(1..300, 150), times in 1..4_usize) {
        let device = &case.gpu().device;
        let parameters = case.parameters();
        let network = case.network();
        let inputs = floats(&case.inputs());
        let outputs: Vec<_> = (0..times)
            .map(|_| block_on(device, Inference::predict(&network, &inputs)).unwrap())
            .collect();
        assert!(outputs.iter().all(|again| again == &outputs[0]), "the outputs differ");
        let after = block_on(device, network.parameters()).unwrap();
        assert!(after.to_bytes().unwrap() == parameters.to_bytes().unwrap(), "a bit differs");
    }

    /// The running statistics are the statistics of the inputs, whose mean is some way from 0. The bound is
    /// that of tests/library/folded.rs: on both sides one rounding per term of a sum, and a dozen after it.
    #[test]
    fn folding_changes_nothing_beyond_rounding(case in cases(2..130, 70), center in 0.0..30.0_f64) {
        let case = Case { batch_norm: true, loss: Loss::MeanSquaredError, ..case };
        let parameters = Parameters { momentum: 1.0, ..case.parameters() };
        let inputs = uniform(case.seed, [case.rows, case.sizes[0] as usize]);
        let inputs = inputs.mapv(|value| f64::from((center + value) as f32));
        let mut network = reference::Network::from(&parameters);
        network.forward(&inputs);
        let parameters = Parameters::from(&network);
        let Gpu { device, queue, .. } = case.gpu();
        let [folded, unfolded] = [&parameters.folded(), &parameters].map(|parameters| {
            let network = Network::from_parameters(device, queue, parameters).unwrap();
            let outputs = block_on(device, Inference::predict(&network, &floats(&inputs))).unwrap();
            let shape = [case.rows, outputs.len() / case.rows];
            Array2::from_shape_vec(shape, outputs).unwrap().mapv(f64::from)
        });
        let bounds = bounds(&parameters, &inputs, |terms| 2.0 * (terms as f64 + 12.0));
        assert_within("folded", &folded, &unfolded, &bounds);
    }
}
