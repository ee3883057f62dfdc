//! The handlers that an app sets on its device stay there.

use wgpu::BufferUsages;
use wgpu::DeviceLostReason::Destroyed;

use super::app::App;

/// The library's calls leave both handlers in place and silent. Errors of the app still reach them.
#[test]
fn the_apps_handlers_stay() {
    let app = App::new();
    app.call_everything();
    app.assert_silent();
    let most = app.device.limits().max_buffer_size;
    app.buffer(most + 4, BufferUsages::STORAGE);
    let errors = app.uncaptured.lock().unwrap();
    assert!(errors.len() == 1 && errors[0].contains("the app's"), "the app's handler: {errors:?}");

    assert_eq!(*app.lost.lock().unwrap(), [], "the device is not lost yet");
    app.device.destroy();
    // The result of polling a lost device is not tested here.
    let _ = app.device.poll(wgpu::PollType::wait_indefinitely());
    assert_eq!(*app.lost.lock().unwrap(), [Destroyed], "the app's callback");
}
