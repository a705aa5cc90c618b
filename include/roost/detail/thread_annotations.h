// Clang's thread-safety annotations: which lock guards which field. Empty elsewhere.
#pragma once

#if defined(__clang__)
#define ROOST_ANNOTATE(x) __attribute__((x))
#else
#define ROOST_ANNOTATE(x)
#endif

#define ROOST_CAPABILITY(x) ROOST_ANNOTATE(capability(x))
#define ROOST_SCOPED_CAPABILITY ROOST_ANNOTATE(scoped_lockable)
#define ROOST_GUARDED_BY(x) ROOST_ANNOTATE(guarded_by(x))
#define ROOST_REQUIRES(...) ROOST_ANNOTATE(requires_capability(__VA_ARGS__))
#define ROOST_EXCLUDES(...) ROOST_ANNOTATE(locks_excluded(__VA_ARGS__))
#define ROOST_ACQUIRE(...) ROOST_ANNOTATE(acquire_capability(__VA_ARGS__))
#define ROOST_TRY_ACQUIRE(...) ROOST_ANNOTATE(try_acquire_capability(__VA_ARGS__))
#define ROOST_RELEASE(...) ROOST_ANNOTATE(release_capability(__VA_ARGS__))
#define ROOST_ACQUIRE_SHARED(...) ROOST_ANNOTATE(acquire_shared_capability(__VA_ARGS__))
#define ROOST_TRY_ACQUIRE_SHARED(...) ROOST_ANNOTATE(try_acquire_shared_capability(__VA_ARGS__))
#define ROOST_RELEASE_SHARED(...) ROOST_ANNOTATE(release_shared_capability(__VA_ARGS__))
#define ROOST_NO_THREAD_SAFETY_ANALYSIS ROOST_ANNOTATE(no_thread_safety_analysis)
