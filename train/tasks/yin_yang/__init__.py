"""Yin-Yang: three classes of points told apart by spike times, on a grid or in continuous time."""
