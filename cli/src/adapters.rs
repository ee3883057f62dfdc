//! `ztilde adapters`: lists the adapters, the one that would be used, and their limits.

use clap::ValueHint;
use serde::Serialize;
use wgpu::{Adapter, Features};

use crate::{
    adapter::{self, Description},
    failure::Failure,
    output::{self, Json},
    wording::bytes,
};

/// Lists the adapters, their features, and the one that would be used
#[derive(clap::Args)]
pub(crate) struct Adapters {
    /// Write the list as JSON, to a file or to stdout (-)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 0..=1,
        default_missing_value = "-")]
    json: Option<Json>,
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    adapters: Vec<Offer>,
}

/// One adapter, and its limits for a network. Sizes are in bytes.
#[derive(Serialize)]
struct Offer {
    #[serde(flatten)]
    adapter: Description,
    used: bool,
    timestamps: bool,
    subgroups: bool,
    /// The smallest and the largest number of invocations in a subgroup.
    subgroup_sizes: [u32; 2],
    f16: bool,
    max_buffer_size: u64,
    max_storage_buffer_binding_size: u64,
    max_compute_workgroup_storage_size: u32,
    max_compute_invocations_per_workgroup: u32,
}

impl Adapters {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let adapters = adapter::list()?;
        let chosen = adapter::choose(&adapters);
        let offers: Vec<_> = adapters
            .iter()
            .enumerate()
            .map(|(index, adapter)| Offer::new(adapter, chosen.as_ref().is_ok_and(|&i| i == index)))
            .collect();
        if self.json != Some(Json::Stdout) {
            for offer in &offers {
                output::print(&offer.describe())?;
            }
        }
        if let Some(json) = &self.json {
            json.write(&Report { version: env!("CARGO_PKG_VERSION"), adapters: offers })?;
        }
        chosen.map(|_| ())
    }
}

impl Offer {
    fn new(adapter: &Adapter, used: bool) -> Self {
        let (info, features, limits) = (adapter.get_info(), adapter.features(), adapter.limits());
        Self {
            adapter: Description::new(&info),
            used,
            timestamps: features.contains(Features::TIMESTAMP_QUERY),
            subgroups: features.contains(Features::SUBGROUP),
            subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
            f16: features.contains(Features::SHADER_F16),
            max_buffer_size: limits.max_buffer_size,
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
        }
    }

    fn describe(&self) -> String {
        let Description { name, backend, device_type, driver } = &self.adapter;
        let yes_or_no = |has| if has { "yes" } else { "no" };
        let subgroups = match self.subgroup_sizes {
            _ if !self.subgroups => "no".to_owned(),
            [least, most] if least == most => format!("yes, of {least}"),
            [least, most] => format!("yes, of {least} to {most}"),
        };
        [
            format!("{name}{}", if self.used { "  <- would be used" } else { "" }),
            format!("  backend           {backend}"),
            format!("  type              {device_type}"),
            format!("  driver            {driver}"),
            format!("  timestamps        {}", yes_or_no(self.timestamps)),
            format!("  subgroups         {subgroups}"),
            format!("  f16               {}", yes_or_no(self.f16)),
            format!("  largest buffer    {}", bytes(self.max_buffer_size)),
            format!("  largest binding   {}", bytes(self.max_storage_buffer_binding_size)),
            format!(
                "  workgroup         {} invocations, {} of memory",
                self.max_compute_invocations_per_workgroup,
                bytes(self.max_compute_workgroup_storage_size.into())
            ),
        ]
        .join("\n")
    }
}
