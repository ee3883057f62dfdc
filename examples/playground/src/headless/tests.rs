//! The whole playground without a window, on any adapter.

use super::*;
use crate::data_sets::{DataSet, EXTENT};
use crate::settings::Networks;

fn options(settings: Settings, steps: u32) -> Options {
    Options { settings, steps, size: crate::window::LEAST_SIZE, scale: 1.0, theme: Theme::Light }
}

/// The pixels of a PNG: red, green and blue.
struct Decoded {
    width: usize,
    pixels: Vec<u8>,
}

impl Decoded {
    fn new(png: &[u8]) -> Self {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.color_type, png::ColorType::Rgb);
        Self { width: info.width as usize, pixels }
    }

    fn pixel(&self, x: usize, y: usize) -> [i32; 3] {
        let place = 3 * (y * self.width + x);
        [0, 1, 2].map(|channel| self.pixels[place + channel].into())
    }

    /// Whether the color at a point is closer to that of class 0, blue, or of class 1, orange.
    fn class_at(&self, surface: egui::Rect, [x, y]: [f32; 2]) -> u32 {
        let from_middle = vec2(x, -y) / EXTENT * 0.5 * surface.width();
        let place = surface.center() + from_middle;
        let [red, _, blue] = self.pixel(place.x as usize, place.y as usize);
        u32::from(red > blue)
    }
}

/// Held-out points, which are not drawn, lie on the color of their class.
#[test]
fn the_surface_shows_the_classes() {
    for (data_set, networks) in
        [(DataSet::TwoMoons, Networks::Plain), (DataSet::Circles, Networks::Both)]
    {
        let settings = Settings { data_set, networks, ..Default::default() };
        let [_, held_out] = settings.draw_points();
        let picture = render(&options(settings, 300)).unwrap();
        assert_eq!(picture.results.len(), networks.batch_norms().len());
        let decoded = Decoded::new(&picture.png().unwrap());
        for NetworkResult { batch_norm, accuracy, surface, .. } in picture.results {
            let what = format!("{}, batch norm {batch_norm}", data_set.name());
            assert!(accuracy > 0.98, "{what}: {accuracy} of the held-out points are right");
            let points = held_out.places.iter().zip(&held_out.classes);
            let right =
                points.filter(|&(&place, &class)| decoded.class_at(surface, place) == class);
            let share = right.count() as f64 / held_out.classes.len() as f64;
            assert!(share > 0.96, "{what}: {share} of them have the color of their class");
        }
    }
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_one_others() {
    let png = |seed, steps| {
        let settings = Settings { seed, ..Default::default() };
        render(&options(settings, steps)).unwrap().png().unwrap()
    };
    let first = png(3, 25);
    assert!(first == png(3, 25), "the same seed drew another picture");
    assert!(first != png(4, 25), "another seed drew the same picture");
    assert!(first != png(3, 24), "a step more drew the same picture");
}

#[test]
fn what_cannot_be_trained_is_an_error_in_words() {
    for (settings, expected) in [
        (Settings { batch_size: 1, ..Default::default() }, "at least 2 rows"),
        (Settings { points: 10, ..Default::default() }, "64 are needed"),
        (Settings { learning_rate: -1.0, ..Default::default() }, "learning_rate is -1"),
        (Settings { hidden_layers: vec![4, 0], ..Default::default() }, "not a network"),
        (Settings { noise: f32::NAN, ..Default::default() }, "must be finite"),
    ] {
        let error = render(&options(settings, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not hold {expected:?}");
    }
}

#[test]
fn a_lost_device_is_reported() {
    let (adapter, device, queue) = headless_device().unwrap();
    let mut view = View::new(Graphics::new(&adapter, &device, &queue, FORMAT), Settings::default());
    view.session.is_playing = true;
    view.session.frame();
    device.destroy();
    for _ in 0..3 {
        view.session.frame();
    }
    let problem = view.session.problem.clone().expect("no problem is shown");
    assert!(problem.contains("lost"), "{problem}");
    // Neither a reset nor drawing panics.
    view.session.reset();

    Context::default().run_ui(RawInput::default(), |ui| view.show(ui)).textures_delta.clear();
    assert!(view.session.problem.is_some());
}

/// As in a window, frames never wait, and their steps fit the budget.
#[test]
fn frames_take_the_steps_that_fit() {
    let (adapter, device, queue) = headless_device().unwrap();
    let graphics = Graphics::new(&adapter, &device, &queue, FORMAT);
    let mut view =
        View::new(graphics, Settings { networks: Networks::Plain, ..Default::default() });
    let session = &mut view.session;
    session.is_playing = true;
    // Ample, even on a busy machine.
    session.pace.budget = 10_000.0;
    let mut steps = vec![0];
    for _ in 0..6 {
        session.frame();
        steps.push(session.steps());
        // The next frame begins after this one is done.
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }
    assert_eq!(session.problem, None);
    let per_frame: Vec<u64> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(per_frame.is_sorted() && per_frame[0] == 1 && per_frame[5] > 8, "{per_frame:?}");

    // No step is that fast, so one per frame remains.
    session.pace.budget = 0.0;
    let mut taken = 0;
    for _ in 0..3 {
        let before = session.steps();
        session.frame();
        taken = session.steps() - before;
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }
    let measures = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
    assert!(taken == 1 || !measures, "{taken} steps in a frame without time");

    session.is_playing = false;
    let before = session.steps();
    session.frame();
    assert_eq!(session.steps(), before, "a paused session went on");
    // It still returns the pending results until there are no more.
    for _ in 0..3 {
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        session.frame();
    }
    assert!(!session.is_waiting());
    assert!(session.learners[0].progress.loss.last().is_some_and(f64::is_finite));
}
