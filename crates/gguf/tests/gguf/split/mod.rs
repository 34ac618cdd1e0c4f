mod layout;
mod name;
mod set;
