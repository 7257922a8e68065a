#include "stage.h"
const struct scenario writer_scenarios[] = { { 0 } };
