//! Colors and spacing, light and dark.

use egui::{
    Color32, Context, CornerRadius, FontFamily, FontId, Stroke, Style, TextStyle, Theme, vec2,
};

/// The colors with a meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    /// The colors of the two classes.
    pub(crate) classes: [Color32; 2],
    /// The color of undecided points.
    pub(crate) neutral: Color32,
    /// The color of the boundary between the classes.
    pub(crate) line: Color32,
    /// The colors of the networks with and without batch normalization.
    pub(crate) normalized: Color32,
    pub(crate) plain: Color32,
    /// The colors of a unit's values in the normalization: pre-activations, ẑ, z̃.
    pub(crate) sums: Color32,
    pub(crate) standardized: Color32,
    pub(crate) ztilde: Color32,
    /// The background of plots.
    pub(crate) card: Color32,
    pub(crate) card_line: Color32,
    pub(crate) text: Color32,
    pub(crate) weak_text: Color32,
}

const LIGHT: Palette = Palette {
    classes: [Color32::from_rgb(38, 110, 190), Color32::from_rgb(232, 119, 34)],
    neutral: Color32::from_rgb(250, 250, 250),
    line: Color32::from_rgb(38, 43, 51),
    normalized: Color32::from_rgb(13, 138, 109),
    plain: Color32::from_rgb(166, 61, 137),
    sums: Color32::from_rgb(128, 136, 148),
    standardized: Color32::from_rgb(92, 132, 214),
    ztilde: Color32::from_rgb(13, 138, 109),
    card: Color32::WHITE,
    card_line: Color32::from_rgb(222, 226, 232),
    text: Color32::from_rgb(33, 38, 46),
    weak_text: Color32::from_rgb(98, 107, 120),
};

const DARK: Palette = Palette {
    classes: [Color32::from_rgb(74, 150, 232), Color32::from_rgb(245, 142, 62)],
    neutral: Color32::from_rgb(24, 27, 33),
    line: Color32::from_rgb(235, 238, 243),
    normalized: Color32::from_rgb(61, 199, 163),
    plain: Color32::from_rgb(222, 116, 190),
    sums: Color32::from_rgb(139, 148, 162),
    standardized: Color32::from_rgb(120, 160, 240),
    ztilde: Color32::from_rgb(61, 199, 163),
    card: Color32::from_rgb(24, 27, 33),
    card_line: Color32::from_rgb(51, 57, 68),
    text: Color32::from_rgb(228, 232, 238),
    weak_text: Color32::from_rgb(152, 161, 175),
};

impl Palette {
    pub(crate) fn of(context: &Context) -> Self {
        match context.theme() {
            Theme::Light => LIGHT,
            Theme::Dark => DARK,
        }
    }

    /// The color of a network.
    pub(crate) fn network(&self, batch_norm: bool) -> Color32 {
        if batch_norm { self.normalized } else { self.plain }
    }
}

/// Sets the style of both themes of a context.
pub(crate) fn install(context: &Context) {
    context.all_styles_mut(space);
    for (theme, palette, panel) in [
        (Theme::Light, LIGHT, Color32::from_rgb(244, 246, 249)),
        (Theme::Dark, DARK, Color32::from_rgb(17, 19, 24)),
    ] {
        context.style_mut_of(theme, |style| color(style, &palette, panel));
    }
}

fn space(style: &mut Style) {
    for (text_style, size) in [
        (TextStyle::Small, 10.5),
        (TextStyle::Body, 12.5),
        (TextStyle::Button, 12.5),
        (TextStyle::Heading, 17.0),
    ] {
        style.text_styles.insert(text_style, FontId::new(size, FontFamily::Proportional));
    }
    style.spacing.item_spacing = vec2(8.0, 6.0);
    style.spacing.button_padding = vec2(8.0, 3.0);
    style.spacing.interact_size.y = 20.0;
    style.spacing.slider_width = 66.0;
    style.spacing.combo_width = 128.0;
    style.interaction.selectable_labels = false;
}

fn color(style: &mut Style, palette: &Palette, panel: Color32) {
    let visuals = &mut style.visuals;
    visuals.panel_fill = panel;
    visuals.window_fill = palette.card;
    visuals.extreme_bg_color = palette.card;
    visuals.override_text_color = Some(palette.text);
    visuals.weak_text_color = Some(palette.weak_text);
    visuals.selection.bg_fill = palette.normalized.gamma_multiply(0.35);
    visuals.selection.stroke = Stroke::new(1.0, palette.text);
    visuals.slider_trailing_fill = true;
    visuals.widgets.noninteractive.bg_stroke = Stroke::new(1.0, palette.card_line);
    for widget in [
        &mut visuals.widgets.inactive,
        &mut visuals.widgets.hovered,
        &mut visuals.widgets.active,
        &mut visuals.widgets.open,
    ] {
        widget.corner_radius = CornerRadius::same(4);
        widget.bg_stroke = Stroke::new(1.0, palette.card_line);
    }
    visuals.widgets.inactive.weak_bg_fill = palette.card;
    visuals.widgets.inactive.bg_fill = palette.card_line;
}
