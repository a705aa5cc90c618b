// Clang's thread-safety annotations. The inline parts of public headers need them as well, so they live there.
#pragma once

#include <roost/detail/thread_annotations.h>
