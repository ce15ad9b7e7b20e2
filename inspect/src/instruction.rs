//! What made a layer, in the words of a Dockerfile.

use mica_oci::History;

/// Takes what builders put around an instruction away from a step of the history.
pub fn instruction(step: &History) -> String {
    let text = step.created_by.as_deref().unwrap_or_default().trim();
    let text = text.strip_suffix("# buildkit").unwrap_or(text).trim_end();
    if let Some((_, instruction)) = text.split_once("#(nop)") {
        return instruction.trim().to_owned();
    }
    if let Some(command) = text.strip_prefix("RUN /bin/sh -c ") {
        return format!("RUN {}", command.trim());
    }
    match text.strip_prefix("/bin/sh -c ") {
        Some(command) => format!("RUN {}", command.trim()),
        // docker's old builder puts the arguments of the build in front of the shell.
        None => match (text.starts_with('|'), text.split_once(" /bin/sh -c ")) {
            (true, Some((_, command))) => format!("RUN {}", command.trim()),
            _ => text.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_words_are_left_out() {
        let cases = [
            ("/bin/sh -c #(nop)  CMD [\"sh\"]", "CMD [\"sh\"]"),
            ("/bin/sh -c #(nop) ADD file:1 in / ", "ADD file:1 in /"),
            ("/bin/sh -c apt-get update", "RUN apt-get update"),
            ("RUN /bin/sh -c echo x > /x # buildkit", "RUN echo x > /x"),
            ("|1 A=b /bin/sh -c echo $A", "RUN echo $A"),
            ("COPY a b # buildkit", "COPY a b"),
            ("", ""),
        ];
        for (created_by, expected) in cases {
            let step = History {
                created_by: Some(created_by.into()),
                ..History::default()
            };
            assert_eq!(instruction(&step), expected, "{created_by}");
        }
    }
}
