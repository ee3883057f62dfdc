//! What is known of a device before anything runs on it.

/// What a driver says of an adapter. Browsers leave most of it empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) name: &'a str,
    pub(crate) driver: &'a str,
    pub(crate) driver_info: &'a str,
    /// The number of the vendor on the PCI bus, or 0.
    pub(crate) vendor: u32,
    /// Whether it computes on the CPU.
    pub(crate) is_software: bool,
    pub(crate) is_discrete: bool,
    pub(crate) is_browser: bool,
    /// The invocations of a subgroup, if all subgroups have this size and the device may use them.
    pub(crate) lanes: Option<u32>,
    /// The bytes of workgroup memory that the device may use; 0 stands for what every device has.
    pub(crate) workgroup_memory: u32,
}

/// A kind of device, with what the plan of a training step depends on.
///
/// On all devices of a class, the same network, options and seed are summed up in the same order.
///
/// ```
/// use ztilde::{DeviceClass, StepPlan};
///
/// let [nvidia, mali] = ["nvidia", "mali"].map(|name| DeviceClass::named(name).unwrap());
/// let plan = |class| StepPlan::new(class, &[784, 512, 10], &Default::default(), &Default::default());
/// println!("{}\n{}", plan(nvidia), plan(mali));
/// assert_ne!(plan(nvidia), plan(mali), "a patch of tiles does not fit the registers of a Mali");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceClass {
    pub(super) family: Family,
    /// The lanes of a CPU's vector register, on adapters whose subgroups are such registers.
    pub(super) lanes: Option<u32>,
    /// The registers of 32 bits that an invocation can have.
    pub(super) registers: u32,
    /// The bytes of memory that a workgroup can have.
    pub(super) workgroup_memory: u32,
    /// Whether the driver unrolls loops over a patch's tiles.
    pub(super) unrolls: bool,
    /// The rounds of loops after which an invocation silently ends.
    pub(super) most_rounds: Option<u64>,
    /// Roughly; on a CPU its cores.
    pub(super) multiprocessors: u32,
}

/// Whose device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Mesa's software adapters: lavapipe and llvmpipe, which share a compiler, and softpipe.
    Lavapipe,
    /// Another adapter that computes on the CPU, such as WARP.
    Software,
    Nvidia,
    Amd,
    Apple,
    Intel,
    Mali,
    Qualcomm,
    /// Browsers name no vendor.
    Unknown,
}

/// After this many rounds in total, Mesa's software adapters silently end the loops of an invocation.
const MOST_ROUNDS: u64 = 65_535;

/// The bytes of workgroup memory of every device, by WebGPU's limits.
const LEAST_MEMORY: u32 = 16 << 10;

/// The widths of a CPU's vector registers that the tile of a subgroup is written for.
const LANES: [u32; 3] = [4, 8, 16];

/// Adapters with more multiprocessors than others of their kind, by a part of their names.
const LARGE: [(&str, u32); 16] = [
    ("H100", 132),
    ("H200", 132),
    ("GH200", 132),
    ("B200", 148),
    ("A100", 108),
    ("L40", 142),
    ("RTX 5090", 170),
    ("RTX 4090", 128),
    ("RTX 3090", 82),
    ("MI300", 304),
    ("7900", 96),
    ("Ultra", 64),
    ("Max", 32),
    ("Pro", 16),
    ("A770", 32),
    ("B580", 20),
];

impl DeviceClass {
    /// The classes that have a name, the way `ztilde bench --device-class` takes it.
    pub const NAMES: [&'static str; 11] = [
        "lavapipe-128",
        "lavapipe-256",
        "lavapipe-512",
        "software",
        "nvidia",
        "amd",
        "apple",
        "intel",
        "mali",
        "qualcomm",
        "unknown",
    ];

    /// The class of this name, for a typical device: `nvidia` is an H100, `apple` a chip of the base model.
    /// None if [`NAMES`](Self::NAMES) lacks it.
    pub fn named(name: &str) -> Option<Self> {
        let software = Facts { is_software: true, ..Facts::default() };
        let lavapipe = Facts { driver: "llvmpipe", driver_info: "Mesa 26.2", ..software };
        let gpu = Facts { is_discrete: true, ..Facts::default() };
        Some(Self::of(&match name {
            "lavapipe-128" => Facts { lanes: Some(4), ..lavapipe },
            "lavapipe-256" => Facts { lanes: Some(8), ..lavapipe },
            "lavapipe-512" => Facts { lanes: Some(16), ..lavapipe },
            "software" => Facts { name: "SwiftShader", driver: "SwiftShader", ..software },
            "nvidia" => {
                let workgroup_memory = 48 << 10;
                Facts { vendor: NVIDIA, name: "NVIDIA H100", workgroup_memory, ..gpu }
            }
            "amd" => {
                let workgroup_memory = 64 << 10;
                Facts { vendor: AMD, name: "AMD Radeon RX 7800", workgroup_memory, ..gpu }
            }
            "apple" => Facts { name: "Apple M4", workgroup_memory: 32 << 10, ..Facts::default() },
            "intel" => Facts { vendor: INTEL, ..Facts::default() },
            "mali" => Facts { vendor: ARM, ..Facts::default() },
            "qualcomm" => Facts { vendor: QUALCOMM, ..Facts::default() },
            "unknown" => Facts::default(),
            _ => return None,
        }))
    }

    /// The class of an adapter.
    pub(crate) fn of(facts: &Facts<'_>) -> Self {
        let family = Family::of(facts);
        let is_mesa = family == Family::Lavapipe;
        Self {
            family,
            lanes: facts.lanes.filter(|lanes| is_mesa && LANES.contains(lanes)),
            registers: family.registers(),
            workgroup_memory: facts.workgroup_memory.max(LEAST_MEMORY),
            unrolls: !is_mesa || unrolls(facts.driver_info),
            most_rounds: is_mesa.then_some(MOST_ROUNDS),
            multiprocessors: multiprocessors(family, facts),
        }
    }

    /// The class of a device with this much workgroup memory.
    #[cfg(test)]
    pub(crate) fn with_workgroup_memory(self, workgroup_memory: u32) -> Self {
        Self { workgroup_memory, ..self }
    }

    /// The lanes of a CPU's vector register, on adapters whose subgroups are such registers.
    pub(crate) fn lanes(self) -> Option<u32> {
        self.lanes
    }

    /// Whether it computes on the CPU.
    pub(crate) fn is_software(self) -> bool {
        matches!(self.family, Family::Lavapipe | Family::Software)
    }

    /// The rounds of loops that an invocation can take; None if there is no limit.
    pub(crate) fn most_rounds(self) -> Option<u64> {
        self.most_rounds
    }

    /// Whether an invocation can take this many rounds of loops.
    pub(crate) fn can_loop(self, rounds: u64) -> bool {
        self.most_rounds.is_none_or(|most| rounds <= most)
    }

    /// Whether a shader that reads a uniform in a loop is compiled again for every value of it.
    pub(crate) fn specializes_uniforms(self) -> bool {
        self.family == Family::Lavapipe
    }
}

const AMD: u32 = 0x1002;
const NVIDIA: u32 = 0x10de;
const ARM: u32 = 0x13b5;
const QUALCOMM: u32 = 0x5143;
const APPLE: u32 = 0x106b;
const INTEL: u32 = 0x8086;

impl Family {
    fn of(facts: &Facts<'_>) -> Self {
        if facts.is_software {
            return if is_mesa(facts) { Self::Lavapipe } else { Self::Software };
        }
        // Metal gives no number of the vendor.
        let named = [
            ("Apple", Self::Apple),
            ("NVIDIA", Self::Nvidia),
            ("AMD", Self::Amd),
            ("Intel", Self::Intel),
            ("Mali", Self::Mali),
            ("Adreno", Self::Qualcomm),
        ];
        match facts.vendor {
            NVIDIA => Self::Nvidia,
            AMD => Self::Amd,
            APPLE => Self::Apple,
            INTEL => Self::Intel,
            ARM => Self::Mali,
            QUALCOMM => Self::Qualcomm,
            _ => {
                let is_named = |(part, _): &(&str, Self)| facts.name.contains(part);
                named.into_iter().find(is_named).map_or(Self::Unknown, |(_, family)| family)
            }
        }
    }

    /// Intel's compiler gives an invocation half of its registers where it runs 16 of them at once.
    fn registers(self) -> u32 {
        match self {
            Self::Nvidia | Self::Amd => 255,
            Self::Apple | Self::Lavapipe | Self::Software => 128,
            Self::Intel | Self::Qualcomm | Self::Unknown => 96,
            Self::Mali => 64,
        }
    }
}

fn is_mesa(facts: &Facts<'_>) -> bool {
    let is_named = ["llvmpipe", "lavapipe", "softpipe"].iter().any(|mesa| {
        [facts.name, facts.driver].iter().any(|text| text.to_lowercase().contains(mesa))
    });
    // Browsers do not name the driver, and an error is better than wrong results.
    let may_be = facts.is_browser && facts.driver.is_empty() && facts.driver_info.is_empty();
    is_named || may_be
}

/// Mesa 22.3, 26.1 and 26.2 unroll; with 25.0, patches take several times as long as tiles for the same
/// work. The versions between were not tested.
fn unrolls(driver_info: &str) -> bool {
    !["Mesa 23.", "Mesa 24.", "Mesa 25."].iter().any(|version| driver_info.starts_with(version))
}

fn multiprocessors(family: Family, facts: &Facts<'_>) -> u32 {
    let large = LARGE.iter().find(|(part, _)| facts.name.contains(part));
    match (family, large) {
        (Family::Lavapipe | Family::Software, _) => 4,
        (Family::Nvidia | Family::Amd | Family::Apple | Family::Intel, Some(&(_, number))) => {
            number
        }
        (Family::Nvidia, None) if facts.is_discrete => 46,
        (Family::Amd, None) if facts.is_discrete => 60,
        (Family::Apple, None) => 10,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(facts: Facts<'_>) -> Family {
        DeviceClass::of(&facts).family
    }

    #[test]
    fn mesa_is_distinguished_from_other_software_adapters() {
        let software = |[name, driver, driver_info]: [&'static str; 3], is_browser| Facts {
            name,
            driver,
            driver_info,
            is_browser,
            is_software: true,
            ..Facts::default()
        };
        let name = "llvmpipe (LLVM 15.0.6, 256 bits)";
        for (texts, is_browser) in [
            ([name, "llvmpipe", "Mesa 22.3.6 (LLVM 15.0.6)"], false),
            ([name, "", "4.5 (Core Profile) Mesa 22.3.6"], false),
            (["softpipe", "", "3.3 (Core Profile) Mesa 22.3.6"], false),
            ([""; 3], true),
        ] {
            assert_eq!(family(software(texts, is_browser)), Family::Lavapipe, "{texts:?}");
        }
        for texts in [
            ["Microsoft Basic Render Driver", "10.0.26100.1", ""],
            ["SwiftShader Device (LLVM 10.0.0)", "SwiftShader driver", ""],
            ["SwiftShader Device (Subzero)", "SwiftShader driver", "1.0"],
        ] {
            let class = DeviceClass::of(&software(texts, false));
            assert_eq!((class.family, class.most_rounds), (Family::Software, None), "{texts:?}");
        }
        // Mesa drives GPUs as well.
        let name = "AMD Radeon RX 7900 (RADV NAVI31)";
        let radv = Facts { name, driver: "radv", driver_info: "Mesa 25.0.7", ..Facts::default() };
        assert_eq!(family(radv), Family::Amd);
        assert_eq!(family(Facts { is_browser: true, ..Facts::default() }), Family::Unknown);
    }

    #[test]
    fn vendors_are_known_by_number_or_by_name() {
        for (vendor, name, expected) in [
            (NVIDIA, "", Family::Nvidia),
            (0, "AMD Radeon Pro 5500M", Family::Amd),
            (0, "Apple M1 Max", Family::Apple),
            (INTEL, "Intel(R) Arc(tm) A770 Graphics", Family::Intel),
            (0, "Mali-G78", Family::Mali),
            (QUALCOMM, "", Family::Qualcomm),
            (0, "", Family::Unknown),
        ] {
            assert_eq!(family(Facts { vendor, name, ..Facts::default() }), expected, "{name}");
        }
    }

    #[test]
    fn only_lavapipes_subgroups_are_vector_registers() {
        for (lanes, expected) in [(Some(4), Some(4)), (Some(16), Some(16)), (Some(32), None)] {
            let lavapipe =
                Facts { driver: "llvmpipe", is_software: true, lanes, ..Facts::default() };
            assert_eq!(DeviceClass::of(&lavapipe).lanes, expected);
            let gpu = Facts { vendor: NVIDIA, lanes, ..Facts::default() };
            assert_eq!(DeviceClass::of(&gpu).lanes, None);
        }
    }

    #[test]
    fn every_named_class_is_another_one() {
        let classes = DeviceClass::NAMES.map(|name| DeviceClass::named(name).expect(name));
        for (index, class) in classes.iter().enumerate() {
            assert!(!classes[..index].contains(class), "{}", DeviceClass::NAMES[index]);
        }
        assert_eq!(DeviceClass::named("voodoo"), None);
    }

    #[test]
    fn some_drivers_do_not_unroll() {
        for version in ["22.3.6 (LLVM 15.0.6)", "26.1.6-1 (LLVM 21.1.8)"] {
            assert!(unrolls(&format!("Mesa {version}")), "{version}");
        }
        assert!(!unrolls("Mesa 25.0.7-2+deb13u1 (LLVM 19.1.7)"));
    }
}
