//! One binary, one module per command. A file of this folder that is not listed here fails
//! `structure::every_file_is_a_module`.

mod archives;
mod attestations;
mod bad_days;
mod build;
mod builder;
mod buildkit;
mod cache;
mod checks;
mod commit;
mod conformance;
mod containers;
mod copy;
mod crashes;
mod errors;
mod explore;
mod faults;
mod files;
mod images;
mod indexes;
mod kill;
mod limits;
mod logins;
mod metadata;
mod network;
mod outputs;
mod plain_users;
mod platforms;
mod progress;
mod proxies;
mod quickstart;
mod registries;
mod registry;
mod review;
mod round_trips;
mod run_options;
mod sbom;
mod scheduling;
mod secrets;
mod serve;
mod shared_stores;
mod shell;
mod shipping;
mod snapshotters;
mod soak;
mod sources;
mod stacks;
mod store;
mod structure;
mod terminal;
mod trees;
mod why;

use mica_tests::{Test, host_leftovers, run_tests, settles_to};

/// Names the tests of a module.
macro_rules! tests {
    ($($module:ident: $($name:ident),+ $(,)?;)+) => {
        &[$($(Test {
            name: concat!(stringify!($module), "::", stringify!($name)),
            body: $module::$name,
        }),+),+]
    };
}

const TESTS: &[Test] = tests! {
    quickstart: the_whole_table;
    structure: every_file_is_a_module, arrows_point_one_way;
    build: helloworld_steps, second_build_reuses_everything, one_changed_file, sandbox_is_closed,
        multi_stage, copy_rules, ignore_file, heredocs, secrets_leave_no_trace, cache_mounts,
        no_tools_in_layers, parallel_stages;
    buildkit: same_images;
    builder: usage, prune, keep_storage, configured_limit;
    faults: killed_builds, full_disks, secrets_are_nowhere;
    cache: registry, modes, local, inline, lost_caches, failed_builds, mounts, bucket, several_platforms;
    scheduling: same_step_in_two_builds, step_of_a_dead_build, early_cutoff, no_cache_and_filter,
        linked_layers_are_rebased, memory_bounds_parallel_steps;
    outputs: several_at_once, local_and_tar, mistakes, compressions, converted_layers, squash, peers_take_each_kind;
    attestations: are_pushed, stay_with_the_image, are_asked_for;
    metadata: file_and_annotations, annotations_in_the_store;
    shipping: layers_go_up_before_the_end, a_failed_build_leaves_no_tag, forms_and_names, digests,
        a_refusal_is_reported;
    indexes: one_name_in_the_store, loaded_as_one;
    platforms: one_index, merged_and_overlapping, errors_name_the_platform, all_are_pushed,
        the_same_everywhere, the_time_of_the_context, foreign_commands;
    images: listing, inspect_formats, history, history_in_a_terminal, tags_and_removal;
    containers: background, foreground, environment_and_directory, volumes, exec, logs_follow,
        stop_and_restart, exit_codes;
    commit: only_the_containers_changes;
    network: published_port, shared_with_container, host_and_none, reaches_another_container;
    limits: memory, processes, cpu;
    progress: plain_lines, failure, raw_json, quiet_and_none;
    why: every_input, edited_dockerfile, another_base, many_files, past_builds;
    shell: before_and_after, kept_until_pruned;
    registry: login_push_pull, push_with_nothing_to_do, eight_blobs_at_once, newer_bases,
        one_image_in_two_manifests, peers_accept_what_was_pushed, wrong_password, loopback_http;
    registries: mirrors_of_every_tool, blocked_and_wrong_files, client_certificates, search_filters, precedence_of_all_files;
    logins: files_in_their_order, programs_that_keep_them, a_program_that_is_missing,
        podman_and_mica, several_logins_at_one_host, token_server;
    serve: mica_pulls_and_pushes, read_only_unless_told, peers_pull_and_push, skopeo_deletes,
        docker_pulls_and_pushes, users_and_tls, mirror_of_a_registry;
    copy: between_all_places, lists_of_platforms, tags_and_sync, artifacts_and_referrers,
        skopeo_agrees, insecure_registries,
        attestations_travel;
    proxies: reach_registries;
    bad_days: pushes, pulls, every_fault_once, every_refusal_once, lies_are_refused, corrupt_content,
        refusals_are_explained, one_download_for_all;
    archives: save_and_load, no_archives, several_images, docker_loads, podman_loads;
    terminal: login, run_it, exec_it, progress, shell_it;
    files: of_a_built_image, letters_of_ls_and_du, names_of_this_directory, history_of_a_path, from_everywhere, of_a_registry,
        odd_and_hostile_layers, three_hundred_layers, a_gigabyte_of_zeros,
        fifty_thousand_files;
    review: waste_and_its_lines, figures_are_those_of_dive, two_images_differ, directories_differ,
        containers_differ,
        a_page_of_its_own, a_page_in_a_browser;
    secrets: do_not_leave, in_attestations;
    sbom: of_text_files, of_dpkg, of_rpm, of_apk, of_real_programs, documents_are_valid;
    explore: layers_and_files, filters_links_and_sizes, signals_give_the_terminal_back,
        large_files_and_searches;
    errors: build_errors, command_line_errors, run_errors, registry_errors;
    trees: are_those_of_umoci, of_buildah_are_those_of_umoci, of_docker_are_those_of_umoci,
        of_three_hundred_layers_are_those_of_umoci;
    kill: builds, pulls_and_pushes;
    checks: text_and_exit_codes, outline_and_targets, warnings_of_a_build, error_formats,
        explained_paths, frontends;
    sources: add_from_http, add_asks_for_all_at_once, add_checksum_and_unpack, add_with_login, add_from_git,
        add_git_directory_and_reuse, git_is_missing, contexts_from_git,
        contexts_from_archives_and_http, contexts_stay_inside, named_contexts;
    run_options: bind_mounts, cache_mount_options, cache_sharing, ssh_agent, ssh_is_missing,
        entitlements, devices, names_and_limits, proxies_leave_no_trace;
    crashes: at_every_call;
    snapshotters: store_on_an_overlay;
    soak: eight_at_once;
    stacks: five_hundred_layers;
    store: usage, pruning, limits_of_the_configuration, checking, unpacking, unpacking_as_a_plain_user,
        mounting, importing, exporting;
    round_trips: umoci_and_skopeo, podman, docker, containerd;
    plain_users: pull_unpack_save_and_push, load_import_and_remove;
    shared_stores: found_and_left_alone, the_first_one_wins, unusable_ones_are_named;
    conformance: lint, dockerfile, tar;
};

fn main() {
    // SAFETY: geteuid(2) cannot fail and takes no pointers.
    #[expect(unsafe_code, reason = "geteuid(2)")]
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        #[expect(clippy::print_stdout, reason = "the reason for the skip")]
        {
            println!("skipped: e2e: needs root");
            println!("0 passed, 0 failed, {} skipped", TESTS.len());
        }
        return;
    }
    let before = host_leftovers();
    let code = run_tests(TESTS);
    std::process::exit(if settles_to(&before) { code } else { 1 });
}
