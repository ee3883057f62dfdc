//! The plans that the model does not prefer. Each of them gives the same bits, so a measurement may choose
//! among them.

use super::layer::{LayerPlan, Place};
use super::order::LayerSizes;
use super::{StepPlan, choice, dispatches};

impl LayerPlan {
    /// How it is computed, in words that differ among the candidates of a layer.
    pub(crate) fn choice(self) -> String {
        let chunks = if self.is_divided { " in chunks" } else { "" };
        let weights = match self.weights.place {
            Place::WithLayer => "with the layer".to_owned(),
            // They have the tiling of the layer before.
            Place::BesideLayerBefore => "beside the layer before".to_owned(),
            Place::Alone => format!("alone, {}", self.weights.tiling),
        };
        let next = if self.takes_next { "; the next layer's beside it" } else { "" };
        format!("{}{chunks}; weights {weights}{next}", self.tiling)
    }
}

impl StepPlan {
    /// The sizes of its layers.
    fn sizes(&self) -> Vec<LayerSizes> {
        self.layers.iter().map(|layer| layer.sizes).collect()
    }

    /// The rows and the layers, in words. Two steps of the same shape have the same candidates, on devices of
    /// the same class.
    pub(crate) fn shape(&self) -> String {
        let inputs = self.layers.first().map_or(0, |layer| layer.sizes.inputs);
        let layers = self.layers.iter().map(|LayerPlan { sizes, .. }| {
            format!("-{}{}", sizes.outputs, if sizes.is_normalized { "n" } else { "" })
        });
        format!("{} rows of {inputs}{}", self.batch.rows, layers.collect::<String>())
    }

    /// How its layers are computed. Empty if one workgroup takes whole steps, because nothing can be chosen
    /// then.
    pub(crate) fn choices(&self) -> Vec<String> {
        match self.whole {
            Some(_) => Vec::new(),
            None => self.layers.iter().map(|layer| layer.choice()).collect(),
        }
    }

    /// The plan of the same shape whose layers are computed in these ways. None if there is no such plan.
    pub(crate) fn with_choices(&self, choices: &[String]) -> Option<Self> {
        if self.whole.is_some() {
            return choices.is_empty().then(|| self.clone());
        }
        if choices.len() != self.layers.len() {
            return None;
        }
        let chosen = |(index, (layer, text)): (usize, (&LayerPlan, &String))| {
            let mut candidates = self.candidates(index, layer).into_iter();
            candidates.find(|candidate| candidate.choice() == *text)
        };
        let layers = self.layers.iter().zip(choices).enumerate().map(chosen);
        let layers: Vec<_> = layers.collect::<Option<_>>()?;
        let fits = |pair: &[LayerPlan]| {
            pair[0].takes_next == (pair[1].weights.place == Place::BesideLayerBefore)
        };
        layers.windows(2).all(fits).then(|| Self::with(self.batch, layers, None))
    }

    /// Up to `most` plans that compute a layer in another way, and the layers before it in the same way. The
    /// ones after it follow the model. The way that the model deems fastest is the first.
    pub(crate) fn others(&self, index: usize, most: usize) -> Vec<Self> {
        let layer = self.layers[index];
        if self.whole.is_some() {
            return Vec::new();
        }
        let (sizes, choices) = (self.sizes(), self.choices());
        let next = sizes.get(index + 1);
        let timed = self.candidates(index, &layer).into_iter().map(|candidate| {
            (dispatches::time_of_layer(self.batch, candidate, next), candidate.choice())
        });
        let mut timed: Vec<_> = timed.filter(|(_, choice)| *choice != choices[index]).collect();
        timed.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let plan = |(_, choice): (f64, String)| {
            let allows = |place: usize, layer: &LayerPlan| match place {
                _ if place < index => layer.choice() == choices[place],
                _ => place > index || layer.choice() == choice,
            };
            let layers = choice::fastest(layer.class, self.batch, &sizes, allows)?;
            Some(Self::with(self.batch, layers, None))
        };
        timed.into_iter().filter_map(plan).take(most).collect()
    }

    /// The numbers, from 1, of the layers that another plan of the same shape computes differently.
    pub(crate) fn differing_layers(&self, other: &Self) -> Vec<usize> {
        let pairs = (1..).zip(self.layers.iter().zip(&other.layers));
        pairs.filter(|(_, (own, other))| own != other).map(|(number, _)| number).collect()
    }

    fn candidates(&self, index: usize, layer: &LayerPlan) -> Vec<LayerPlan> {
        choice::candidates(layer.class, self.batch.rows, layer.sizes, index == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::options::TrainerOptions;
    use crate::plan::DeviceClass;

    const SHAPES: [(u32, &[u32]); 4] = [
        (64, &[64, 128, 64, 10]),
        (256, &[784, 512, 256, 10]),
        (1024, &[1024, 1024, 1024, 10]),
        (16384, &[32, 64, 64, 3]),
    ];

    fn plans() -> impl Iterator<Item = (String, StepPlan)> {
        DeviceClass::NAMES.into_iter().flat_map(|name| {
            SHAPES.map(|(batch_size, sizes)| {
                let class = DeviceClass::named(name).expect(name);
                let options = TrainerOptions { batch_size, ..Default::default() };
                let plan = StepPlan::new(class, sizes, &Default::default(), &options);
                (format!("{name}, {}", plan.shape()), plan)
            })
        })
    }

    #[test]
    fn words_name_each_candidate() {
        for (what, plan) in plans() {
            for (index, layer) in plan.layers.iter().enumerate() {
                let candidates = plan.candidates(index, layer);
                let words: BTreeSet<_> = candidates.iter().map(|one| one.choice()).collect();
                assert_eq!(words.len(), candidates.len(), "{what}, layer {}: {words:?}", index + 1);
            }
        }
    }

    #[test]
    fn plans_are_found_by_their_words() {
        let mut count = 0;
        for (what, plan) in plans() {
            assert_eq!(plan.with_choices(&plan.choices()).as_ref(), Some(&plan), "{what}");
            for index in 0..plan.layers.len() {
                for other in plan.others(index, 8) {
                    count += 1;
                    assert_eq!(plan.with_choices(&other.choices()), Some(other.clone()), "{what}");
                    let layers = plan.differing_layers(&other);
                    let first = layers.iter().copied().min();
                    assert_eq!(first, Some(index + 1), "{what}: {:?}", other.choices());
                }
            }
        }
        assert!(count > 200, "{count} other plans");
    }

    #[test]
    fn words_of_no_plan_are_refused() {
        let class = DeviceClass::named("nvidia").expect("a class");
        let options = TrainerOptions { batch_size: 256, ..Default::default() };
        let plan = StepPlan::new(class, &[784, 512, 256, 10], &Default::default(), &options);
        let own = plan.choices();
        let with = |index: usize, text: &str| {
            let mut choices = own.clone();
            choices[index] = text.to_owned();
            plan.with_choices(&choices)
        };
        assert!(own[1].ends_with("beside the layer before; the next layer's beside it"), "{own:?}");
        // The last layer relies on it.
        assert_eq!(with(1, own[1].strip_suffix("; the next layer's beside it").unwrap()), None);
        assert_eq!(with(0, "32 × 32; weights with the layer"), None);
        assert_eq!(plan.with_choices(&own[..2]), None);
        assert_eq!(plan.with_choices(&[]), None);
    }
}
