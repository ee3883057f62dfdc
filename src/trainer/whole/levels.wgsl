const QUADS = 2u;
const LEARNED = 128u;
const LEVEL_0 = Level(0u, 5u, 0u, false, false, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u);
const LEVEL_1 = Level(1u, 6u, 5u, true, false, 0u, 48u, 64u, 0u, 16u, 1056u, 1072u, 1088u, 1024u);
const LEVEL_2 = Level(2u, 3u, 6u, true, false, 16u, 80u, 96u, 32u, 48u, 1104u, 1120u, 1136u, 1040u);
const LEVEL_3 = Level(3u, 2u, 3u, false, false, 32u, 0u, 112u, 0u, 0u, 1152u, 0u, 1152u, 1024u);
const OUTPUT = LEVEL_3;

fn measure_all(is_last: bool) {
    measure(LEVEL_0, LEVEL_1, is_last);
    measure(LEVEL_1, LEVEL_2, is_last);
}

fn lose_all(is_last: bool) {
    lose(LEVEL_2, LEVEL_3, is_last);
}

fn descend_all() {
    descend(LEVEL_1, LEVEL_2);
    descend(LEVEL_0, LEVEL_1);
}

fn restore_all() {
    restore(LEVEL_1);
    restore(LEVEL_2);
}
