//! The shader texts of the modules in `src/kernels` and `src/fused`, composed as in these modules.

#[allow(dead_code, reason = "browsers get the uniform in one place alone")]
#[path = "../../../src/gpu/declaration.rs"]
pub(crate) mod declaration;
#[allow(dead_code, reason = "only its module asks what it can bind")]
#[path = "../../../src/fused/narrow_forward/text.rs"]
mod narrow;

use declaration::Place;

/// The two families of kernels: a module of `src` and a folder of `shaders` each.
pub(crate) const FAMILIES: [&str; 2] = ["kernels", "fused"];

/// Calls `check` with the path and the module of every kernel. The path is that of its shader in `shaders`,
/// and of its module in `src`, without the extension: `kernels/normalize`.
pub(crate) fn for_each_kernel(mut check: impl FnMut(&str, &str)) {
    for family in FAMILIES {
        let listing = read(&format!("src/{family}.rs"));
        let modules = listing.lines().filter_map(|line| line.split_once("mod "));
        let names: Vec<&str> = modules.filter_map(|(_, name)| name.strip_suffix(';')).collect();
        assert!(!names.is_empty(), "there are no kernels in src/{family}.rs");
        for name in names {
            let path = format!("{family}/{name}");
            check(&path, &read(&format!("src/{path}.rs")));
        }
    }
}

/// The texts that a kernel module compiles: a kernel's file, the shared files that follow it in one
/// `concat!`, the text that src/plan/tiling.rs or
/// `src/fused/narrow_forward/text.rs` appends, and the declaration of the uniform.
pub(crate) fn texts(room: &str) -> Vec<String> {
    texts_with(room, Place::Uniform)
}

/// The same with the uniform in this place.
pub(crate) fn texts_with(room: &str, place: Place) -> Vec<String> {
    let declaration = declaration::declaration(uniform(room), place);
    without_uniform(room).into_iter().map(|text| text + &declaration).collect()
}

/// The struct of a kernel's uniform: the `U` of its `Kernel<U>`.
fn uniform(room: &str) -> &str {
    let (_, rest) = room.split_once("Kernel<").expect("a kernel with its uniform");
    rest.split('>').next().unwrap_or_default()
}

fn without_uniform(room: &str) -> Vec<String> {
    let room = room.split("#[cfg(test)]").next().unwrap_or_default();
    let mut texts: Vec<String> = Vec::new();
    for rest in room.split("include_str!(\"../../shaders/").skip(1) {
        let path = rest.split('"').next().unwrap_or_default();
        let text = read(&format!("shaders/{path}"));
        match texts.last_mut() {
            Some(last) if path.starts_with("shared/") => last.push_str(&text),
            _ => texts.push(text),
        }
    }
    if room.contains("mod text;") {
        let text = texts.pop().unwrap_or_default();
        texts.extend([false, true].map(|is_fma| format!("{text}{}", narrow_layers(is_fma))));
    }
    texts.extend(room.split("tiled![").skip(1).flat_map(tiled));
    texts.extend(room.split("stepped![").skip(1).flat_map(stepped));
    texts
}

/// What `src/fused/narrow_forward/text.rs` appends for a network of 3, 5 and 2 neurons.
fn narrow_layers(is_fma: bool) -> String {
    let normalization = Some(narrow::Normalization { gamma: 5, running_mean: 0, running_var: 2 });
    let layers = [
        narrow::Entry { inputs: 3, outputs: 5, weights: 0, beta: 7, normalization },
        narrow::Entry { inputs: 5, outputs: 2, weights: 9, beta: 13, normalization: None },
    ];
    narrow::text(&layers, [14, 4], is_fma)
}

/// The texts of a kernel that multiplies matrices, whose files are in a `tiled![…]`: once for each tiling, as
/// src/plan/tiling.rs makes its constants.
fn tiled(list: &str) -> Vec<String> {
    let text = listed(list);
    let mut texts = Vec::new();
    let mut add = |tile: &str, constant: String, [down, across]: [u32; 2]| {
        let tile = read(&format!("shaders/shared/{tile}.wgsl"));
        let tiles = format!("const TILES_DOWN = {down}u;\nconst TILES_ACROSS = {across}u;\n");
        texts.push(format!("{text}{tile}\n{constant}\n{tiles}"));
    };
    let of_workgroup = |[quads, split, depth, buffers]: [u32; 4], reads_ahead: bool| {
        format!(
            "const TILE_QUADS = {quads}u;\nconst SPLIT = {split}u;\nconst DEPTH = {depth}u;\n\
             const BUFFERS = {buffers}u;\nconst READS_AHEAD = {reads_ahead};"
        )
    };
    for (numbers, patch) in [
        ([8, 1, 16, 2], [1, 1]),
        ([8, 1, 16, 1], [1, 2]),
        ([8, 1, 16, 1], [2, 2]),
        ([16, 1, 8, 1], [2, 2]),
        ([4, 4, 8, 1], [1, 1]),
    ] {
        add("tile_workgroup", of_workgroup(numbers, true), patch);
    }
    add("tile_workgroup", of_workgroup([8, 1, 16, 2], false), [1, 1]);
    for lanes in [4, 8, 16] {
        add("tile_subgroup", format!("const LANES = {lanes}u;"), [1, 1]);
    }
    add("tile_subgroup", "const LANES = 8u;".to_owned(), [1, 2]);
    texts
}

/// The texts of a kernel that takes whole steps, whose files are in a `stepped![…]`: with the levels of a small
/// network, which a test of the trainer compares with those of the library.
fn stepped(list: &str) -> Vec<String> {
    let [text, levels] = [listed(list), read("src/trainer/whole/levels.wgsl")];
    let of = |way: &str, constant: String| {
        let way = read(&format!("shaders/shared/{way}.wgsl"));
        format!("{text}{way}\n{constant}\n{levels}")
    };
    let in_workgroup =
        [1, 2, 4].map(|quads| of("steps_in_workgroup", format!("const EXCHANGED = {quads}u;")));
    let on_lanes = [4, 8, 16].map(|lanes| of("steps_on_lanes", format!("const LANES = {lanes}u;")));
    in_workgroup.into_iter().chain(on_lanes).collect()
}

/// The files of a list, one after the other.
fn listed(list: &str) -> String {
    let list = list.split(']').next().unwrap_or_default();
    let files = list.split('"').filter(|part| part.ends_with(".wgsl"));
    files.map(|file| read(&format!("shaders/{file}"))).collect()
}

pub(crate) fn is_for_subgroups(text: &str) -> bool {
    let files = ["tile_subgroup", "steps_on_lanes"];
    files.iter().any(|file| text.contains(&read(&format!("shaders/shared/{file}.wgsl"))))
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
