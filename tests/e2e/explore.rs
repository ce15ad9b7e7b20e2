//! `mica explore` in a terminal of 80 columns and 24 rows.

use std::process::Command;

use mica_tests::{Machine, Outcome, run};

use crate::files::built;
use crate::terminal::Screen;

/// The layers of an image, what they changed, and who put a file here and hid it later.
pub(crate) fn layers_and_files() -> Outcome {
    let machine = built();
    let screen = Screen::sized(&machine, "explore t", (80, 24))?;
    // The last line of a drawing.
    let shown = screen.shows("? keys  q quit");
    for part in ["Files up to layer 4", "COPY f /a/f"] {
        assert!(shown.contains(part), "{shown}");
    }
    // Of layer 3 by itself: a file that it put here, and one that it hid.
    screen.keys(&["[", "s", "e", "Tab"]);
    screen.shows("Changes of layer 3");
    let shown = screen.shows("zeros");
    assert!(shown.contains("D      8B     f"), "{shown}");
    assert!(shown.contains("A   100kB       zeros"), "{shown}");
    screen.keys(&["/", "f", "Enter"]);
    let shown = screen.shows("layer   3 removed");
    assert!(shown.contains("layer   1 added     COPY f /a/f"), "{shown}");
    assert!(
        shown.contains("layer   2 modified  RUN echo more >> /a/f"),
        "{shown}"
    );
    // What is hidden is read from below.
    screen.keys(&["Enter"]);
    screen.shows("removed by layer 3");
    let shown = screen.shows("more");
    assert!(shown.contains("hi"), "{shown}");
    screen.keys(&["x"]);
    screen.shows("|hi.more.|");
    screen.keys(&["q", "q"]);
    screen.shows("left with 0");
    machine
        .mica(["explore", "t"])
        .fails(1, &["needs a terminal", "mica layers"]);
    Ok(())
}

/// A filter that is typed, a link that is followed, another size of the terminal.
pub(crate) fn filters_links_and_sizes() -> Outcome {
    let machine = built();
    let screen = Screen::sized(&machine, "explore t", (80, 24))?;
    screen.shows("Files up to layer 4");
    screen.keys(&["f", "zero", "Enter"]);
    let shown = screen.shows("with `zero`");
    assert!(
        shown.contains("zeros") && !shown.contains("bin/"),
        "{shown}"
    );
    screen.keys(&["Escape"]);
    screen.shows("bin/");
    screen.keys(&["]", "/", "s", "Enter", "g"]);
    screen.keys(&["?"]);
    screen.shows("follow a symbolic link");
    screen.keys(&["q"]);
    screen.resize(132, 40);
    // The instructions have more room.
    screen.shows("rm -r /home &&");
    screen.keys(&["C-c"]);
    screen.shows("left with 0");
    Ok(())
}

/// Whatever ends it from outside leaves a terminal that can be worked in.
pub(crate) fn signals_give_the_terminal_back() -> Outcome {
    let machine = built();
    for (signal, number) in [("HUP", 1), ("INT", 2), ("TERM", 15)] {
        let screen = Screen::sized(&machine, "explore t", (80, 24))?;
        screen.shows("? keys  q quit");
        let state = || ["alternate_on", "cursor_flag"].map(|what| screen.is(what));
        assert_eq!(state(), ["1", "0"]);
        screen.signal(signal);
        screen.shows(&format!("left with {}", 128 + number));
        assert_eq!(state(), ["0", "1"], "{signal}");
        let modes = run(Command::new("stty").args(["-a", "-F", &screen.is("pane_tty")]));
        let modes: Vec<_> = modes.ok().split_whitespace().collect();
        for mode in ["icanon", "echo", "isig", "opost"] {
            assert!(modes.contains(&mode), "{signal}: {mode} is off: {modes:?}");
        }
    }
    Ok(())
}

/// A file that does not fit in memory's part: its end, a place far away, and back.
pub(crate) fn large_files_and_searches() -> Outcome {
    let machine = Machine::with_busybox();
    let lines = "RUN seq 1000001 1900000 > /big && echo Needle >> /big && head -c 9000000 /dev/zero > /zero \
                 && echo -e 'in\\0Zeros' >> /zero\n";
    machine
        .build("t", &format!("FROM busybox\n{lines}"), &[])
        .ok();
    let screen = Screen::sized(&machine, "explore t", (80, 24))?;
    screen.shows("? keys  q quit");
    screen.keys(&["/", "big", "Enter", "Enter"]);
    let shown = screen.shows("text, bytes 0 to 168 of 7200007");
    assert!(shown.contains("/ search  n next"), "{shown}");
    // Over the end of what is read at first, row by row and by screens.
    screen.keys(&["/", "1524287", "Enter"]);
    screen.shows("1524287");
    screen.keys(&["-N", "200", "j"]);
    let shown = screen.shows("bytes 4195736");
    assert!(
        shown.contains("│1524468 ") && shown.contains("│1524488 "),
        "{shown}"
    );
    screen.keys(&["/", "needle", "Enter"]);
    screen.shows("to 7200007 of 7200007");
    screen.shows("│Needle");
    screen.keys(&["g"]);
    screen.shows("│1000001");
    screen.keys(&["N"]);
    screen.shows("│Needle");
    screen.keys(&["PageUp"]);
    screen.shows("│1899960");
    screen.keys(&["g", "G"]);
    screen.shows("│Needle");
    screen.keys(&["/", "nowhere", "Enter"]);
    screen.shows("nothing here is `nowhere`");
    screen.keys(&["q", "/", "zero", "Enter", "Enter"]);
    screen.shows("hex, bytes 0 to 336 of 9000009");
    screen.keys(&["/", "\\x00zeros", "Enter"]);
    screen.shows("|in.Zeros.|");
    screen.keys(&["x"]);
    screen.shows("in?Zeros");
    screen.keys(&["q", "q"]);
    screen.shows("left with 0");
    Ok(())
}
