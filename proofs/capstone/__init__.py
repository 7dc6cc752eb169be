"""The capstone: each thing that the course asks for, collected by a machine and judged by its evidence."""
