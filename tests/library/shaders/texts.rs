//! The shader texts of the library's kernels, composed as in their modules.

/// Calls `check` with the name and the module of every kernel. A kernel is a module that includes a shader of
/// its own name, in any folder of `src`.
pub(crate) fn for_each_kernel(mut check: impl FnMut(&str, &str)) {
    let mut kernels = 0;
    let mut files = vec![("lib".to_owned(), "src".to_owned())];
    while let Some((name, folder)) = files.pop() {
        let own_folder = if name == "lib" { folder.clone() } else { format!("{folder}/{name}") };
        let module = read(&format!("{folder}/{name}.rs"));
        let module = module.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let below = module.lines().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
        files.extend(below.map(|name| (name.to_owned(), own_folder.clone())));
        if shader_paths(module).any(|path| path.ends_with(&format!("/{name}.wgsl"))) {
            check(&name, module);
            kernels += 1;
        }
    }
    assert!(kernels > 20, "only {kernels} kernels");
}

/// The paths of the shaders and shared files that a module includes, in order.
pub(crate) fn shader_paths(room: &str) -> impl Iterator<Item = String> {
    room.split("include_str!(\"").skip(1).filter_map(|rest| {
        let (_, path) = rest.split('"').next()?.split_once("/shaders/")?;
        Some(format!("shaders/{path}"))
    })
}

/// The texts that a kernel module compiles: a kernel's file, the shared files that follow it in one
/// `concat!`, and the text that src/gpu/tile.rs appends.
pub(crate) fn texts(room: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for path in shader_paths(room) {
        let text = read(&path);
        match texts.last_mut() {
            Some(last) if path.contains("/shared/") => last.push_str(&text),
            _ => texts.push(text),
        }
    }
    texts.into_iter().flat_map(in_patches).collect()
}

/// A text that multiplies matrices, once for each patch size; any other text unchanged.
fn in_patches(text: String) -> Vec<String> {
    if !text.contains("TILES_DOWN") {
        return vec![text];
    }
    let patch =
        |tiles| format!("{text}const TILES_DOWN = {tiles}u;\nconst TILES_ACROSS = {tiles}u;");
    [1, 2].map(patch).into()
}

pub(crate) fn is_for_subgroups(text: &str) -> bool {
    text.contains(&read("shaders/shared/tile_subgroup.wgsl"))
}

/// A file of the project.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn read(path: &str) -> String {
    let file = root().join(path);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn root() -> &'static std::path::Path {
    // The package that includes this file may be in a folder of the project.
    let mut folders = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join("shaders").is_dir()).expect("the folder of the shaders")
}

/// A file of the project, fetched from the tests' server.
#[cfg(target_arch = "wasm32")]
pub(crate) fn read(path: &str) -> String {
    let request = web_sys::XmlHttpRequest::new().expect("a request");
    let answer = request
        .open_with_async("GET", &format!("/{path}"), false)
        .and_then(|()| request.send())
        .and_then(|()| Ok((request.status()?, request.response_text()?)));
    match answer {
        Ok((200, Some(text))) => text,
        answer => panic!("{path}: {answer:?}"),
    }
}
