// The errors that all rooms throw: the public ones.
#pragma once

#include "chorus/error.h"
