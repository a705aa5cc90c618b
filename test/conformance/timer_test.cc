#include "conformance/fibers.h"
