//! The data sets: points in the plane, of two classes.

use std::f32::consts::{PI, TAU};

use clap::ValueEnum;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// The picture shows the plane from −`EXTENT` to `EXTENT`, in both directions.
pub(crate) const EXTENT: f32 = 1.15;

/// The arrangement of the two classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataSet {
    TwoMoons,
    Spirals,
    Circles,
    Checkerboard,
}

/// Points with their class, 0 or 1.
#[derive(Clone, Debug)]
pub(crate) struct Points {
    pub(crate) places: Vec<[f32; 2]>,
    pub(crate) classes: Vec<u32>,
}

impl DataSet {
    pub(crate) const ALL: [Self; 4] =
        [Self::TwoMoons, Self::Spirals, Self::Circles, Self::Checkerboard];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TwoMoons => "two moons",
            Self::Spirals => "spirals",
            Self::Circles => "circles",
            Self::Checkerboard => "checkerboard",
        }
    }

    /// This many points, with noise of this standard deviation in both directions. The same arguments
    /// give the same points; another `draw` gives other points of the same kind.
    pub(crate) fn points(self, count: u32, noise: f32, seed: u64, draw: u64) -> Points {
        let mut random = Random::new(seed, draw);
        let mut points = Points { places: Vec::new(), classes: Vec::new() };
        for index in 0..count {
            let ([x, y], class) = self.point(index % 2, &mut random);
            points.places.push([x + noise * random.normal(), y + noise * random.normal()]);
            points.classes.push(class);
        }
        points
    }

    /// A point without noise. It has the requested class, except on the checkerboard, where the position
    /// decides.
    fn point(self, class: u32, random: &mut Random) -> ([f32; 2], u32) {
        let side = if class == 0 { 1.0 } else { -1.0 };
        let place = match self {
            Self::TwoMoons => {
                let angle = PI * random.uniform();
                [0.65 * (side * angle.cos() - 0.5 * side), 0.65 * side * (angle.sin() - 0.25)]
            }
            Self::Spirals => {
                // The root spreads the points evenly along the arm.
                let along = random.uniform().sqrt();
                let angle = 1.75 * TAU * along;
                let radius = side * (0.05 + 0.95 * along);
                [radius * angle.cos(), radius * angle.sin()]
            }
            Self::Circles => {
                let angle = TAU * random.uniform();
                let radius = if class == 0 { 0.4 } else { 0.9 };
                [radius * angle.cos(), radius * angle.sin()]
            }
            Self::Checkerboard => {
                let place = [2.0 * random.uniform() - 1.0, 2.0 * random.uniform() - 1.0];
                let cells = place.map(|coordinate| (2.0 * (coordinate + 1.0)) as u32);
                return (place, (cells[0] + cells[1]) % 2);
            }
        };
        (place, class)
    }
}

/// Random numbers that are the same on every platform.
struct Random(ChaCha8Rng);

impl Random {
    fn new(seed: u64, draw: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(draw);
        Self(generator)
    }

    /// A number of at least 0 and below 1.
    fn uniform(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// A normal number with mean 0 and deviation 1 (Box and Muller).
    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }
}
