//! How this process's memory comes and goes.

/// Has buffers from 512 KiB on go back to the system when they are freed. glibc takes them from
/// the system at first, too, but keeps them once some were freed: in each thread's arena, which
/// doubles what a transfer with many threads holds. Source: mallopt(3), `M_MMAP_THRESHOLD`.
///
/// Does nothing with another C library.
#[cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "mallopt(3) has no safe wrapper")
)]
pub fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 512 << 10;
        // SAFETY: it takes two integers, and touches nothing but the allocator's settings.
        // An allocator without such a setting says 0, which changes nothing for us.
        let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    }
}
