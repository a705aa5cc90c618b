// Whether the build is instrumented: ROOST_ASAN, ROOST_TSAN. GCC and Clang say so in different ways.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define ROOST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ROOST_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define ROOST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ROOST_TSAN 1
#endif
#endif
