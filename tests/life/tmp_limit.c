#include "stage.h"
const struct scenario limit_scenarios[] = { { 0 } };
