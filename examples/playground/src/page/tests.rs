//! Tests in a browser: `scripts/with-browser cargo test -p playground --target wasm32-unknown-unknown`.

use js_sys::Promise;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use super::*;

wasm_bindgen_test_configure!(run_in_browser);

/// The size of the page, like that of a window.
fn canvas() -> HtmlCanvasElement {
    let document = web_sys::window().and_then(|window| window.document()).expect("a page");
    let canvas = document.create_element("canvas").expect("a canvas");
    canvas.set_attribute("style", "display: block; width: 1200px; height: 760px").expect("a style");
    document.body().expect("a body").append_child(&canvas).expect("a place on the page");
    canvas.unchecked_into()
}

async fn sleep(milliseconds: i32) {
    let promise = Promise::new(&mut |resolve, _| {
        let window = web_sys::window().expect("a page");
        let timer =
            window.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, milliseconds);
        timer.expect("a timer");
    });
    JsFuture::from(promise).await.expect("a timer never rejects it");
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The page runs frame by frame, as the browser requests, and shows its results.
#[wasm_bindgen_test]
async fn it_learns_on_a_page() {
    let options = words(&["--data=two-moons", "--optimizer=adam", "--learning-rate=0.03"]);
    let runner = run(canvas(), options).await.expect("it starts");
    for _ in 0..3000 {
        sleep(100).await;
        assert!(!runner.has_panicked(), "{}", runner.panic_summary().expect("a panic").message());
        let app = runner.app_mut::<App>().expect("it runs");
        let session = &app.0.session;
        assert_eq!(session.problem, None);
        let accuracies = session.learners.iter().map(|one| one.progress.held_out_accuracy.last());
        if accuracies.flatten().filter(|&accuracy| accuracy > 0.95).count() == 2 {
            return;
        }
    }
    panic!("after five minutes it has not learned yet");
}

#[wasm_bindgen_test]
async fn a_wrong_option_is_named() {
    let error = run(canvas(), words(&["--data=moon"])).await.err().expect("there is no moon");
    let error = error.as_string().expect("words");
    assert!(error.contains("'moon'") && error.contains("two-moons"), "{error}");
}
