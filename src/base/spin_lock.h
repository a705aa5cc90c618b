// SpinLock and SpinGuard. The inline parts of public headers need them as well, so they live there.
#pragma once

#include <roost/detail/spin_lock.h>

#include "base/thread_annotations.h"
