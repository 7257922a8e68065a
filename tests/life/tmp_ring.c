#include "stage.h"
const struct scenario ring_scenarios[] = { { 0 } };
